// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::{
    Origin, RawDocument, RawStore, Side, Verdict,
    dedup::RepeatConfig,
    filters::{CleanConfig, OptOutList, Preset},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
};

/// Returns a text of `sentences` that no other number gives.
fn text(number: u32, sentences: u32) -> String {
    (0..sentences)
        .map(|sentence| {
            let word = |part: u32| {
                let seed = u64::from(number) * 7_919 + u64::from(sentence) * 104_729;
                let mixed = (seed + u64::from(part)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                format!("w{:05x}", mixed >> 44)
            };
            format!("The {} of {} saw {} by {}.\n", word(1), word(2), word(3), word(4))
        })
        .collect()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.0.path().join("in").join(name), contents).unwrap();
    }

    fn pipeline(&self, config: PipelineConfig) -> Pipeline {
        let work = self.0.path().join("work");
        Pipeline::open(&work, config, References::default(), ReadOptions::default()).unwrap()
    }

    fn supplies(&self) -> Vec<Supply> {
        vec![Supply::Path(self.0.path().join("in"))]
    }

    fn run(&self, config: PipelineConfig) -> (CorpusReport, Vec<Selected>) {
        let mut selection = self.pipeline(config).run(&self.supplies(), &|_| ()).unwrap();
        all(&mut selection)
    }

    /// Writes a file beside the inputs that nobody may train on, and returns its path.
    fn probe(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    fn decontaminating(&self, files: &ReferenceFiles) -> Pipeline {
        let (work, config) = (self.0.path().join("work"), PipelineConfig::default());
        Pipeline::open(&work, config, files.load().unwrap(), ReadOptions::default()).unwrap()
    }
}

/// Returns files of which no passage may be in the data.
fn kept_out(paths: impl Into<Vec<PathBuf>>) -> ReferenceFiles {
    ReferenceFiles { decontaminate: paths.into(), ..ReferenceFiles::default() }
}

fn all(selection: &mut Selection) -> (CorpusReport, Vec<Selected>) {
    let mut found = Vec::new();
    let report = selection
        .for_each(|selected, _| {
            found.push(selected);
            Ok::<_, CorpusError>(())
        })
        .unwrap();
    (report, found)
}

fn by_location(found: &[Selected]) -> BTreeMap<&str, Option<Side>> {
    found
        .iter()
        .map(|selected| {
            let side = selected.kept.as_ref().map(|(_, side)| *side);
            (selected.record.origin.location.as_str(), side)
        })
        .collect()
}

#[test]
fn documents_are_cleaned_deduplicated_and_split_by_cluster() {
    let folder = Folder::new();
    for number in 0..12 {
        folder.write(&format!("{number:02}.txt"), text(number, 60));
    }
    // Another edition of a text, an exact copy, and things that are no text.
    folder.write("20.txt", text(3, 60).replacen("saw", "had seen", 2));
    folder.write("21.txt", text(4, 60));
    folder.write("22.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    folder.write("._23.txt", "metadata");
    let config = PipelineConfig { held_out: 200_000, ..PipelineConfig::default() };
    let (report, found) = folder.run(config.clone());

    let sides = by_location(&found);
    assert_eq!(sides["in/21.txt"], None, "{sides:?}");
    let editions = [sides["in/03.txt"], sides["in/20.txt"]];
    assert_eq!(editions.iter().flatten().count(), 1, "one edition stays: {sides:?}");
    let clusters = |names: &[&str]| -> BTreeSet<Hash> {
        let is_named = |name: &str| names.iter().any(|end| name.ends_with(end));
        let named = found.iter().filter(|found| is_named(&found.record.origin.location));
        named.map(|found| found.record.cluster.unwrap_or(found.record.text)).collect()
    };
    assert_eq!(clusters(&["03.txt", "20.txt"]).len(), 1);
    assert_eq!(clusters(&["04.txt", "21.txt"]).len(), 1);
    assert_eq!(clusters(&[".txt"]).len(), 12);
    let lone = found.iter().find(|found| found.record.origin.location == "in/05.txt").unwrap();
    assert_eq!(lone.record.cluster, None);
    let survivors: Vec<_> = found.iter().filter_map(|found| found.record.survivor).collect();
    assert!(survivors.iter().all(|it| clusters(&["03.txt", "04.txt"]).contains(it)));
    assert_eq!(report.dropped["duplicate.near"], 1);
    assert_eq!(report.dropped["duplicate.exact"], 1);
    assert_eq!(report.refused, 2, "{:?}", report.refusals);
    let held_out = sides.values().filter(|side| **side == Some(Side::HeldOut)).count();
    assert!((2..=4).contains(&held_out), "{sides:?}");
    assert_eq!(report.held_out.documents, held_out as u64);
    let kept: u64 = found.iter().filter_map(|found| found.kept.as_ref()).map(|_| 1).sum();
    assert_eq!(report.train.documents + report.held_out.documents, kept);
    // The same again, from the folder and without it.
    assert_eq!(folder.run(config.clone()), (report.clone(), found.clone()));
    fs::remove_dir_all(folder.0.path().join("work")).unwrap();
    assert_eq!(folder.run(config), (report, found));
}

#[test]
fn an_edition_with_another_block_of_lines_is_on_one_side() {
    let folder = Folder::new();
    (0..8).for_each(|number| folder.write(&format!("{number:02}.txt"), text(number, 119)));
    let (first, block) = (text(12, 119), text(62, 10));
    let mut lines: Vec<&str> = first.lines().collect();
    // 8.4 % of the lines, as many as two editions of a play may differ in.
    lines[50..60].copy_from_slice(&block.lines().collect::<Vec<_>>());
    folder.write("20.txt", &first);
    folder.write("21.txt", lines.join("\n"));
    for held_out in [100_000, 400_000] {
        let (report, found) = folder.run(PipelineConfig { held_out, ..PipelineConfig::default() });
        let sides = by_location(&found);
        let editions = [sides["in/20.txt"], sides["in/21.txt"]];
        assert_eq!(editions.iter().flatten().count(), 1, "{sides:?}");
        assert_eq!(report.dropped["duplicate.near"], 1);
        let clusters: BTreeSet<Hash> =
            found.iter().map(|found| found.record.cluster.unwrap_or(found.record.text)).collect();
        assert_eq!((found.len(), clusters.len()), (10, 9), "the editions are one cluster");
    }
}

#[test]
fn rules_are_recorded_and_drop_documents() {
    let folder = Folder::new();
    folder.write("a.txt", "Too short.");
    folder.write("b.txt", " \n ");
    let config =
        PipelineConfig { clean: CleanConfig::of(Preset::Web), ..PipelineConfig::default() };
    let (report, found) = folder.run(config);
    assert_eq!(found.len(), 1, "a text of white space is refused: {:?}", report.refusals);
    let record = &found[0].record;
    assert!(record.is_dropped() && found[0].kept.is_none() && record.place.is_none());
    let last = record.decisions.last().unwrap();
    assert_eq!((last.verdict, report.dropped[last.rule.as_ref()]), (Verdict::Dropped, 1));
}

#[test]
fn rows_and_records_of_opted_out_sites_are_dropped() {
    let folder = Folder::new();
    let row = |host: &str, number| {
        let url = format!("https://{host}/a");
        serde_json::json!({ "text": text(number, 30), "url": url })
    };
    folder.write("a.jsonl", format!("{}\n{}\n", row("out.test", 1), row("in.test", 2)));
    folder.write("b.csv", format!("url,text\nhttp://www.out.test/b,\"{}\"\n", text(3, 30)));
    let record = |url: &str, number| {
        let text = text(number, 30);
        format!(
            "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: {url}\r\nContent-Type: \
             text/plain\r\nContent-Length: {}\r\n\r\n{text}\r\n\r\n",
            text.len()
        )
    };
    let records = [record("http://other.test/private/c", 4), record("http://other.test/c", 5)];
    folder.write("c.warc", records.concat());
    let list = folder.0.path().join("opt-out.txt");
    fs::write(&list, "host out.test\nurl https://other.test/private/\n").unwrap();
    let opt_out = Some(OptOutList::open(&list).unwrap());
    let references = References { opt_out, ..References::default() };
    let (work, config) = (folder.0.path().join("work"), PipelineConfig::default());
    let pipeline = Pipeline::open(&work, config, references, ReadOptions::default()).unwrap();
    let (report, found) = all(&mut pipeline.run(&folder.supplies(), &|_| ()).unwrap());
    assert_eq!((report.dropped["opt_out.host"], report.dropped["opt_out.url"]), (2, 1));
    let kept = found.iter().filter(|found| found.kept.is_some());
    let kept: Vec<_> = kept.map(|found| found.record.origin.part[1].as_str()).collect();
    assert_eq!(kept, ["https://in.test/a", "http://other.test/c"]);
}

#[test]
fn changed_signatures_of_others_decide_anew_and_nothing_is_read_again() {
    let folder = Folder::new();
    let passage = text(9, 20);
    folder.write("a.txt", format!("{}{passage}", text(1, 60)));
    folder.write("b.txt", format!("{passage}{}", text(2, 60)));
    // Files of signatures of other manifests: one is like neither text, the other is like a.txt.
    let signatures = |name: &str, text: &str| {
        let (input, path) = (folder.0.path().join(name), folder.0.path().join("signatures"));
        fs::write(&input, text).unwrap();
        let work = folder.0.path().join(format!("work-of-{name}"));
        let (config, options) = (PipelineConfig::default(), ReadOptions::default());
        let pipeline = Pipeline::open(&work, config, References::default(), options).unwrap();
        let mut selection = pipeline.run(&[Supply::Path(input)], &|_| ()).unwrap();
        selection.save_signatures(&path).unwrap();
        path
    };
    let run = |against: PathBuf| {
        let (work, options) = (folder.0.path().join("work"), ReadOptions::default());
        let repeats = Some(RepeatConfig::default());
        let config = PipelineConfig { repeats, ..PipelineConfig::default() };
        let references = References { against: vec![against], ..References::default() };
        let pipeline = Pipeline::open(&work, config, references, options).unwrap();
        let (digest, read) = (pipeline.digest(), AtomicU32::new(0));
        let mut selection = pipeline
            .run(&folder.supplies(), &|progress| {
                read.fetch_add(u32::from(progress.stage == Stage::Reading), Ordering::Relaxed);
            })
            .unwrap();
        let found = all(&mut selection).1;
        let has_passage =
            |found: &Selected| found.kept.as_ref().map(|(text, _)| text.contains(passage.as_str()));
        (digest, [has_passage(&found[0]), has_passage(&found[1])], read.into_inner() > 0)
    };
    let (first, found, was_read) = run(signatures("other.txt", &text(5, 60)));
    assert_eq!((found, was_read), ([Some(true), Some(false)], true), "the second occurrence goes");
    let a = fs::read_to_string(folder.0.path().join("in/a.txt")).unwrap();
    let (second, found, was_read) = run(signatures("edition.txt", &a));
    assert_ne!(first, second, "the digest is that of the contents");
    assert_eq!((found, was_read), ([None, Some(true)], false), "the only occurrence stays");
}

#[test]
fn documents_with_passages_of_references_are_dropped_and_say_so() {
    let folder = Folder::new();
    let probe = text(99, 4).replace('\n', " ");
    let words: Vec<_> = probe.split(' ').collect();
    folder.write("verbatim.txt", format!("{}{probe}{}", text(1, 9), text(2, 9)));
    folder.write("marks.md", format!("{}* {}", text(3, 9), words.join(" *_ ").to_uppercase()));
    folder.write(
        "long.txt",
        format!("{}{}\n{}", text(4, 9_000), words[8..21].join("\n"), text(5, 9)),
    );
    folder.write("twelve.txt", format!("{}{}\n{}", text(6, 9), words[8..20].join(" "), text(7, 9)));
    folder.write("other.txt", text(8, 60));
    let row = |question: &str| serde_json::json!({ "id": 7, "question": question }).to_string();
    folder.probe("probes/.cache", [0, 1, 2, 0xff]);
    folder.probe("probes/blank.jsonl", row(" "));
    let rows = [row(&probe), row("Too short."), row(&text(98, 3)), row(&probe)].join("\n");
    let probes = folder.probe("probes/rows.jsonl", rows);
    let files = ReferenceFiles {
        decontaminate_fields: vec!["question".into()],
        ..kept_out([probes.parent().unwrap().to_owned()])
    };
    let mut selection = folder.decontaminating(&files).run(&folder.supplies(), &|_| ()).unwrap();
    let (report, found) = all(&mut selection);

    let sides = by_location(&found);
    let kept: Vec<_> =
        sides.iter().filter(|(_, side)| side.is_some()).map(|kept| *kept.0).collect();
    assert_eq!(kept, ["in/other.txt", "in/twelve.txt"]);
    let hash = *blake3::hash(probe.as_bytes()).as_bytes();
    for Selected { record, kept, .. } in &found {
        let decision = record.decisions.last().unwrap();
        let measured = match record.origin.location.as_str() {
            "in/long.txt" => 1,
            "in/verbatim.txt" | "in/marks.md" => 32 - 12,
            _ => 0,
        };
        assert_eq!((&*decision.rule, decision.measured), ("contamination", Some(measured)));
        let (verdict, reference) = match measured {
            0 => (Verdict::Passed, None),
            _ => (Verdict::Dropped, Some(hash)),
        };
        assert_eq!((decision.verdict, record.reference), (verdict, reference));
        assert_eq!(kept.is_some(), measured == 0);
    }
    assert_eq!(report.dropped["contamination"], 3);
    let compared = report.decontamination.unwrap();
    assert_eq!((compared.references, compared.ignored, compared.runs), (2, 1, 20 + 12));
    let name = "probes/rows.jsonl › line 1 › id 7".into();
    assert_eq!(compared.found, [FoundReference { name, text: hash, documents: 3 }]);
    drop(selection);
    let (without, _) = folder.run(PipelineConfig::default());
    assert_eq!((without.dropped.get("contamination"), without.decontamination), (None, None));
}

#[test]
fn held_out_documents_with_passages_of_the_others_are_dropped() {
    let folder = Folder::new();
    let passage = text(999, 4).replace('\n', " ");
    for number in 0..40 {
        let shared = if number % 2 == 0 { passage.as_str() } else { "" };
        let name = format!("{number:02}.txt");
        folder.write(&name, format!("{}{shared}\n{}", text(number, 30), text(number + 100, 30)));
    }
    let config = PipelineConfig { held_out: 300_000, ..PipelineConfig::default() };
    let clean = PipelineConfig { clean_held_out: true, ..config.clone() };
    assert_ne!(folder.pipeline(config.clone()).digest(), folder.pipeline(clean.clone()).digest());
    let (_, before) = folder.run(config);
    let (report, found) = folder.run(clean);

    let (before, after) = (by_location(&before), by_location(&found));
    let is_shared = |name: &str| name.as_bytes()[4].is_multiple_of(2);
    let of_side = |sides: &BTreeMap<&str, Option<Side>>, side| -> Vec<String> {
        let of_side = sides.iter().filter(|(_, found)| **found == side);
        of_side.map(|(name, _)| (*name).to_owned()).collect()
    };
    let held_out = of_side(&before, Some(Side::HeldOut));
    let (dropped, kept): (Vec<_>, Vec<_>) = held_out.into_iter().partition(|it| is_shared(it));
    assert!(!dropped.is_empty() && !kept.is_empty(), "both are among the held-out ones");
    assert_eq!(of_side(&after, Some(Side::HeldOut)), kept);
    assert_eq!(of_side(&after, None), dropped);
    assert_eq!(of_side(&after, Some(Side::Train)), of_side(&before, Some(Side::Train)));
    assert_eq!(report.dropped["held_out.passages"], dropped.len() as u64);
    for Selected { record, .. } in &found {
        let decision = record.decisions.iter().find(|it| it.rule == "held_out.passages");
        let measured = decision.map(|it| (it.verdict, it.measured));
        let name = record.origin.location.as_str();
        match after[name] {
            Some(Side::Train) => assert_eq!(measured, None, "{name}"),
            Some(Side::HeldOut) => {
                assert_eq!(measured, Some((Verdict::Passed, Some(0))), "{name}");
            }
            // The passage has 32 words, and words beside it may be the same by chance.
            None => assert!(
                matches!(measured, Some((Verdict::Dropped, Some(20..=22)))),
                "{name}: {measured:?}"
            ),
        }
    }
}

#[test]
fn texts_and_rule_of_decontamination_are_part_of_the_digest() {
    let folder = Folder::new();
    let probes = [folder.probe("a.txt", text(1, 9)), folder.probe("b.txt", text(2, 9))];
    let digest = |files: &ReferenceFiles| {
        fs::remove_dir_all(folder.0.path().join("work")).ok();
        folder.decontaminating(files).digest()
    };
    let without = digest(&ReferenceFiles::default());
    let both = digest(&kept_out(probes.clone()));
    let one = digest(&kept_out([probes[0].clone()]));
    assert!(without != both && both != one && one != without);
    let copy = folder.probe("c/d.md", text(1, 9));
    let turned = [probes[1].clone(), copy, probes[0].clone()];
    assert_eq!(digest(&kept_out(turned)), both, "neither order nor names nor copies matter");
    // It is what it was before there was decontamination.
    let references = References::default();
    assert_eq!(references.digest(), *blake3::hash(&[0; 99]).as_bytes());
}

#[test]
fn references_that_cannot_be_read_are_refused_by_their_names() {
    let folder = Folder::new();
    let rows = "{\"question\":\"Why?\"}\n";
    let mut packed = zstd::bulk::compress(text(1, 400).as_bytes(), 1).unwrap();
    packed.truncate(packed.len() / 2);
    for (path, reasons) in [
        (folder.probe("rows.jsonl", rows), ["rows.jsonl › line 1", "(fields: question)"]),
        (folder.probe("torn.zst", packed), ["torn.zst is to be kept out", "cannot be read"]),
        (folder.probe("folder/a.png", b"\x89PNG\r\n"), ["folder/a.png", "an image (PNG)"]),
        (folder.probe("short.txt", "Only six words are in here."), ["no text of 8", "short.txt"]),
        (folder.probe("empty.txt", ""), ["no text of 8 words", "empty.txt"]),
        (folder.0.path().join("missing"), ["cannot read", "missing"]),
    ] {
        let path = if path.ends_with("a.png") { path.parent().unwrap().to_owned() } else { path };
        let error = kept_out([path]).load().err().unwrap().to_string();
        assert!(reasons.iter().all(|reason| error.contains(reason)), "{error}");
    }
}

#[test]
fn the_tail_of_a_single_text_is_held_out() {
    let folder = Folder::new();
    let whole = text(1, 200);
    folder.write("a.txt", &whole);
    let config = PipelineConfig { held_out: 100_000, ..PipelineConfig::default() };
    let (report, found) = folder.run(config);
    let parts: Vec<_> = found.iter().map(|found| found.kept.clone().unwrap()).collect();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts.iter().map(|(text, _)| text.as_str()).collect::<String>(), whole);
    assert_eq!((parts[0].1, parts[1].1), (Side::Train, Side::HeldOut));
    let share = report.held_out.bytes * 100 / whole.len() as u64;
    assert!((9..=11).contains(&share), "{share}");
    let origins: BTreeSet<_> = found.iter().map(|found| &found.record.origin).collect();
    assert_eq!(origins.len(), 2, "each part has an origin of its own");
}

#[test]
fn pieces_of_a_long_document_stay_together() {
    let folder = Folder::new();
    let long = text(1, 50_000);
    assert!(long.len() > 2 * crate::MAX_PIECE_BYTES);
    folder.write("long.txt", &long);
    (2..40).for_each(|number| folder.write(&format!("{number:02}.txt"), text(number, 500)));
    let config = PipelineConfig { held_out: 300_000, repeats: None, ..PipelineConfig::default() };
    let (_, found) = folder.run(config);
    let pieces: Vec<_> =
        found.iter().filter(|found| found.record.origin.location == "in/long.txt").collect();
    assert!(pieces.len() > 2);
    let sides: BTreeSet<_> = pieces.iter().map(|found| found.kept.as_ref().unwrap().1).collect();
    assert_eq!(sides.len(), 1);
    let joined: String =
        pieces.iter().map(|found| found.kept.as_ref().unwrap().0.as_str()).collect();
    assert_eq!(joined, long);
    assert!(pieces.iter().all(|piece| piece.group == pieces[0].group));
    let cluster = |piece: &Selected| piece.record.cluster.unwrap_or(piece.record.text);
    assert!(pieces.iter().all(|piece| cluster(piece) == cluster(pieces[0])));
    assert_eq!(pieces.iter().filter(|piece| piece.record.cluster.is_none()).count(), 1);
}

#[test]
fn a_killed_run_goes_on_where_it_stopped() {
    let folder = Folder::new();
    (0..6).for_each(|number| folder.write(&format!("{number}.txt"), text(number, 100)));
    let held_out = PipelineConfig { held_out: 200_000, ..PipelineConfig::default() };
    let probe = folder.probe("probe.txt", text(3, 9));
    let pipelines: [&dyn Fn() -> Pipeline; 2] = [&|| folder.pipeline(held_out.clone()), &|| {
        folder.decontaminating(&kept_out([probe.clone()]))
    }];
    for pipeline in pipelines {
        let supplies = folder.supplies();
        let expected = all(&mut pipeline().run(&supplies, &|_| ()).unwrap());
        fs::remove_dir_all(folder.0.path().join("work")).unwrap();

        // A watcher that panics stands for a kill at each step.
        for stop in 1.. {
            let (calls, work) = (AtomicU32::new(0), pipeline());
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                work.run(&supplies, &|_| {
                    assert!(calls.fetch_add(1, Ordering::Relaxed) + 1 != stop, "killed");
                })
            }));
            if let Ok(selection) = run {
                assert_eq!(all(&mut selection.unwrap()), expected);
                break;
            }
        }
        fs::remove_dir_all(folder.0.path().join("work")).unwrap();
    }
}

#[test]
fn stores_are_read_and_places_that_are_too_long_refused() {
    let folder = Folder::new();
    let raw = folder.0.path().join("raw");
    let mut store = RawStore::create_or_open(&raw).unwrap();
    for (number, signal) in [(1, "tdm-reservation: 0".to_owned()), (2, "x".repeat(40_000))] {
        let origin = Origin {
            source: "web".into(),
            location: format!("https://example.org/{number}"),
            fetched: Some(1_700_000_000),
            signals: vec![signal],
            ..Origin::default()
        };
        let bytes = text(number, 30).into_bytes();
        store.append(&RawDocument { origin, media: Some("text/plain".into()), bytes }).unwrap();
    }
    store.commit(&serde_json::json!({ "page": 2 })).unwrap();
    drop(store);
    let pipeline = folder.pipeline(PipelineConfig::default());
    let (report, found) =
        all(&mut pipeline.run(&[Supply::Store(raw.clone(), 0)], &|_| ()).unwrap());
    assert_eq!((found.len(), report.refused), (1, 1));
    assert_eq!(found[0].record.origin.location, "https://example.org/1");
    assert_eq!(found[0].record.origin.fetched, Some(1_700_000_000));
    assert!(report.refusals[0].reason.contains("more than 32768"), "{:?}", report.refusals);
    let pipeline = folder.pipeline(PipelineConfig::default());
    let (_, later) = all(&mut pipeline.run(&[Supply::Store(raw, 1)], &|_| ()).unwrap());
    assert_eq!(later.len() + 1, found.len(), "the first document is passed over");
}

#[test]
fn progress_is_told_in_bytes_of_the_inputs_and_ends_at_all_of_them() {
    let folder = Folder::new();
    let raw = folder.0.path().join("raw");
    let mut store = RawStore::create_or_open(&raw).unwrap();
    for number in 0..20 {
        let bytes = text(number, 100).into_bytes();
        store.append(&RawDocument::of_text(Origin::default(), text(number, 90))).unwrap();
        // It grows when it is unpacked.
        let packed = zstd::bulk::compress(&bytes.repeat(2), 1).unwrap();
        folder.write(&format!("{number:02}.txt.zst"), packed);
    }
    store.commit(&serde_json::Value::Null).unwrap();
    drop(store);
    let supplies = [folder.supplies(), vec![Supply::Store(raw, 5)]].concat();
    let told = std::sync::Mutex::new(Vec::new());
    let pipeline = folder.pipeline(PipelineConfig::default());
    pipeline.run(&supplies, &|progress| told.lock().unwrap().push(progress)).unwrap();
    let told = told.into_inner().unwrap();
    assert!(told.iter().all(|progress| progress.done <= progress.total), "{told:?}");
    let read = told.iter().rfind(|progress| progress.stage == Stage::Reading).unwrap();
    let sizes: u64 = supplies.iter().map(|supply| supply.bytes().unwrap()).sum();
    assert_eq!((read.done, read.total), (sizes, sizes));
}

#[test]
fn other_inputs_start_anew() {
    let folder = Folder::new();
    folder.write("a.txt", text(1, 50));
    let config = PipelineConfig::default();
    let first = folder.run(config.clone());
    folder.write("b.txt", text(2, 50));
    let second = folder.run(config.clone());
    assert_eq!((first.1.len(), second.1.len()), (1, 2));
    let watched = AtomicU32::new(0);
    let supplies = folder.supplies();
    let run = folder.pipeline(config).run(&supplies, &|_| {
        watched.fetch_add(1, Ordering::Relaxed);
    });
    all(&mut run.unwrap());
    assert_eq!(watched.into_inner(), 0, "nothing is read again");
}

#[test]
fn options_out_of_range_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for config in [
        PipelineConfig { held_out: 1_000_000, ..PipelineConfig::default() },
        PipelineConfig { min_quality: 1_000_001, ..PipelineConfig::default() },
    ] {
        let opened =
            Pipeline::open(folder.path(), config, References::default(), ReadOptions::default());
        assert!(matches!(opened, Err(CorpusError::InvalidOption(_))));
    }
    let missing = Supply::Path(folder.path().join("missing"));
    let pipeline = Pipeline::open(
        folder.path(),
        PipelineConfig::default(),
        References::default(),
        ReadOptions::default(),
    );
    let run = pipeline.unwrap().run(&[missing], &|_| ());
    assert!(matches!(run, Err(CorpusError::Io { .. })));
}
