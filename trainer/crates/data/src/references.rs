// SPDX-License-Identifier: Apache-2.0

//! Texts in ingested folders that nobody may train on.

use crate::{
    DataError, HELD_OUT, RECORD_FILE, TRAIN, documents::Texts, network::signature_files,
    shards::BODY_FILE, verify::verify_sides,
};
use pol_corpus::{
    Origin, Side,
    dedup::DecontaminatorBuilder,
    pipeline::{ReferenceFiles, References},
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Reads the lists and models that documents are held against. Of an ingested folder, the held-out
/// text is kept out of the data, and of a folder of shards within one, the text in these. A folder
/// of signatures stands for its files, in the order of their manifests.
///
/// # Errors
///
/// Fails if a file cannot be read or is not what it should be, and if an ingested folder is damaged
/// or holds nothing out.
pub fn load_references(files: &ReferenceFiles) -> Result<References, DataError> {
    let mut references = files.load_with(add_ingested)?;
    references.against.clear();
    for path in &files.against {
        match path.is_dir() {
            true => references.against.extend(signature_files(path)?),
            false => references.against.push(path.clone()),
        }
    }
    Ok(references)
}

/// Adds the texts of an ingested folder. Returns `false` if the path is that of something else.
fn add_ingested(path: &Path, texts: &mut DecontaminatorBuilder) -> Result<bool, DataError> {
    let Some((folder, side)) = side_of(path)? else { return Ok(false) };
    let record = verify_sides(&folder, &[side])?;
    let (summary, name) = match side {
        Side::Train => (&record.train, TRAIN),
        Side::HeldOut => (&record.held_out, HELD_OUT),
    };
    if summary.shards == 0 {
        return Err(DataError::InvalidOption(format!(
            "{} has no {name} text to keep out of the data; name the texts themselves",
            folder.display()
        )));
    }
    // Without the path, which other machines do not have.
    let place = [folder.file_name().unwrap_or_default(), name.as_ref()].map(OsStr::to_string_lossy);
    let place = place.join("/");
    for item in Texts::of_sides(&folder, &[side])? {
        let (document, Some(text)) = item? else { continue };
        let Origin { location, part, .. } = document.origin;
        let parts = std::iter::once(location).chain(part).collect();
        let origin = Origin { location: place.clone(), part: parts, ..Origin::default() };
        texts.add(&origin, document.piece, &text)?;
    }
    Ok(true)
}

/// Returns the ingested folder and the side of it that a path names, if it names one.
fn side_of(path: &Path) -> Result<Option<(PathBuf, Side)>, DataError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if absolute.join(RECORD_FILE).is_file() {
        return Ok(Some((absolute, Side::HeldOut)));
    }
    if !absolute.join(BODY_FILE).is_file() {
        return Ok(None);
    }
    // The tokenizer and the records of the documents are in the folder around it.
    let folder = absolute.parent().filter(|folder| folder.join(RECORD_FILE).is_file());
    let side = match absolute.file_name().and_then(OsStr::to_str) {
        Some(TRAIN) => Some(Side::Train),
        Some(HELD_OUT) => Some(Side::HeldOut),
        _ => None,
    };
    match (folder, side) {
        (Some(folder), Some(side)) => Ok(Some((folder.to_owned(), side))),
        _ => Err(DataError::InvalidOption(format!(
            "{} holds shards without the ingestion that made them; name the folder of \
             `data ingest`, with its {RECORD_FILE}",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IngestConfig, ingest, tokenizer_trainer::tests::many_words};
    use pol_corpus::pipeline::PipelineConfig;
    use std::fs;

    /// Returns files of which no passage may be in the data.
    fn kept_out(path: PathBuf) -> ReferenceFiles {
        ReferenceFiles { decontaminate: vec![path], ..ReferenceFiles::default() }
    }

    /// Ingests eight texts, of which some are held out, and returns the scratch folder.
    fn earlier() -> (tempfile::TempDir, IngestConfig) {
        let scratch = tempfile::tempdir().unwrap();
        let texts = scratch.path().join("texts");
        fs::create_dir(&texts).unwrap();
        let text = many_words(24_000);
        let part = text.len() / 8;
        for number in 0..8 {
            let text = &text[number * part..(number + 1) * part];
            fs::write(texts.join(format!("{number}.txt")), text).unwrap();
        }
        let corpus = PipelineConfig { held_out: 250_000, ..PipelineConfig::default() };
        let config = IngestConfig::small(texts, scratch.path().join("earlier"));
        let config = IngestConfig { corpus, ..config };
        ingest(&config, References::default(), &|_| ()).unwrap();
        (scratch, config)
    }

    #[test]
    fn held_out_text_of_a_folder_is_kept_out_of_the_next_one() {
        let (scratch, config) = earlier();
        let held_out: Vec<_> = Texts::of_sides(&config.out, &[Side::HeldOut])
            .unwrap()
            .filter_map(|item| {
                let (record, text) = item.unwrap();
                text.map(|_| record.origin.location)
            })
            .collect();
        assert_eq!(held_out.len(), 2);
        // Some of it comes again within a text that is new.
        let passage = fs::read_to_string(scratch.path().join(&held_out[0])).unwrap();
        let passage = passage[4_000..4_400].to_uppercase().replace(',', " - ");
        let new = many_words(30_000).split_off(24_000 * 7);
        let new = format!("{}{passage}{}", &new[..9_000], &new[9_000..]);
        fs::write(scratch.path().join("texts/new.txt"), new).unwrap();

        let references = load_references(&kept_out(config.out.clone())).unwrap();
        let later = IngestConfig { out: scratch.path().join("later"), ..config };
        let record = ingest(&later, references, &|_| ()).unwrap();
        assert_eq!((record.documents, record.dropped), (6, 3));
        let report = fs::read(later.out.join(crate::REPORT_FILE)).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        assert_eq!(report["dropped"]["contamination"], 3);
        let found = report["decontamination"]["found"].as_array().unwrap();
        let names: Vec<_> = found.iter().map(|found| found["name"].as_str().unwrap()).collect();
        let named = |at: usize| format!("earlier/held-out › {}", held_out[at]);
        assert_eq!(names, [named(0), named(1)]);
        assert_eq!((&found[0]["documents"], &found[1]["documents"]), (&2.into(), &1.into()));
        let records = Texts::of_sides(&later.out, &[]).unwrap();
        let dropped = records.filter(|item| item.as_ref().unwrap().0.reference.is_some());
        assert_eq!(dropped.count(), 3);
        crate::verify(&later.out).unwrap();
    }

    #[test]
    fn sides_are_named_by_their_folders_and_have_to_be_whole() {
        let (scratch, config) = earlier();
        let out = &config.out;
        let load = |path: PathBuf| match load_references(&kept_out(path)) {
            Ok(references) => Ok(references.held_out.unwrap().digest()),
            Err(error) => Err(error.to_string()),
        };
        let held_out = load(out.clone()).unwrap();
        assert_eq!(load(out.join(HELD_OUT)), Ok(held_out));
        let train = load(out.join(TRAIN)).unwrap();
        assert_ne!(train, held_out);

        let copy = scratch.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(out.join(HELD_OUT)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
        let error = load(copy).unwrap_err();
        assert!(error.contains("copy holds shards without the ingestion"), "{error}");

        // The other side may be away, and the texts may not be others.
        fs::remove_dir_all(out.join(TRAIN)).unwrap();
        assert_eq!(load(out.clone()), Ok(held_out));
        let shards = out.join("held-out/shards.u16");
        let mut bytes = fs::read(&shards).unwrap();
        bytes[100] ^= 1;
        fs::write(&shards, bytes).unwrap();
        let error = load(out.clone()).unwrap_err();
        assert!(error.contains("shard 0 has another hash"), "{error}");

        let nothing = IngestConfig {
            corpus: PipelineConfig::default(),
            out: scratch.path().join("nothing"),
            ..config.clone()
        };
        ingest(&nothing, References::default(), &|_| ()).unwrap();
        let error = load(nothing.out).unwrap_err();
        assert!(error.contains("has no held-out text to keep out"), "{error}");
    }
}
