// SPDX-License-Identifier: Apache-2.0

//! Measures the search for duplicates on a made corpus with known duplicates: recall and precision
//! by similarity, and the speed of each step on one core.
//!
//! ```text
//! cargo run --release -p pol-corpus --example dedup_quality -- [FAMILIES]
//! ```

mod made;

use made::{Kind, Made, corpus};
use pol_corpus::{
    Origin,
    dedup::{
        Clusters, DecontaminationConfig, DecontaminatorBuilder, DedupConfig, Deduplicator, Entry,
        RepeatConfig, RepeatFinder, cut,
    },
};
use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

type Shingles = HashSet<u64>;

fn main() -> Result<(), Box<dyn Error>> {
    let families = std::env::args().nth(1).map_or(Ok(2000), |count| count.parse())?;
    let documents = corpus(families);
    let bytes: usize = documents.iter().map(|document| document.text.len()).sum();
    println!("{} documents, {:.1} MB", documents.len(), bytes as f64 / 1e6);
    let shingles: Vec<Shingles> = documents.iter().map(|made| shingles(&made.text)).collect();

    for (bands, rows) in [(14, 8), (16, 7), (21, 6)] {
        let config = DedupConfig { bands, rows, ..DedupConfig::default() };
        println!("\n{bands} bands of {rows}");
        let mut clusters = search(&documents, config, bytes)?;
        report(&documents, &shingles, &mut clusters)?;
    }
    permutations(&documents, &shingles, bytes);
    passages(&documents, bytes)?;
    Ok(())
}

/// Returns the hashes of the runs of five words.
fn shingles(text: &str) -> Shingles {
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words
        .windows(5)
        .map(|run| {
            let mut hasher = DefaultHasher::new();
            run.hash(&mut hasher);
            hasher.finish()
        })
        .collect()
}

fn jaccard(a: &Shingles, b: &Shingles) -> f64 {
    let both = a.intersection(b).count();
    both as f64 / (a.len() + b.len() - both).max(1) as f64
}

fn speed(step: &str, bytes: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{step:<28} {:8.1} MB/s", bytes as f64 / 1e6 / seconds);
}

fn search(
    documents: &[Made],
    config: DedupConfig,
    bytes: usize,
) -> Result<Clusters, Box<dyn Error>> {
    let folder = tempfile::tempdir()?.keep();
    let mut dedup = Deduplicator::open(&folder, config, &[0; 32])?;
    let start = Instant::now();
    for (made, id) in documents.iter().zip(0..) {
        let entry = Entry { id, group: id, quality: 0 };
        dedup.add(entry, &made.text)?;
    }
    speed("signatures", bytes, start);
    let start = Instant::now();
    let clusters = dedup.finish()?;
    speed("clusters", bytes, start);
    std::fs::remove_dir_all(folder)?;
    Ok(clusters)
}

/// Prints recall by similarity over all pairs of one family, and precision over all documents that
/// are dropped.
fn report(
    documents: &[Made],
    shingles: &[Shingles],
    clusters: &mut Clusters,
) -> Result<(), Box<dyn Error>> {
    let mut of = Vec::new();
    for id in 0..documents.len() as u64 {
        of.push(clusters.get(id)?.ok_or("a document is missing")?);
    }
    let found = |a: usize, b: usize| {
        of[a].cluster == of[b].cluster && (of[a].duplicate.is_some() || of[b].duplicate.is_some())
    };
    recall(documents, shingles, found);
    let (mut dropped, mut family, mut at) = (0, 0, [0; 3]);
    let mut wrong = BTreeMap::<(Kind, Kind), u32>::new();
    for (id, one) in of.iter().enumerate() {
        let Some(survivor) = one.duplicate.as_ref().and_then(|duplicate| duplicate.survivor) else {
            continue;
        };
        let survivor = survivor as usize;
        dropped += 1;
        if documents[id].family == documents[survivor].family {
            family += 1;
        } else {
            *wrong.entry((documents[id].kind, documents[survivor].kind)).or_default() += 1;
        }
        let similarity = jaccard(&shingles[id], &shingles[survivor]);
        for (count, threshold) in at.iter_mut().zip([0.75, 0.78, 0.8]) {
            *count += u32::from(similarity >= threshold);
        }
    }
    let share = |count: u32| f64::from(count) / f64::from(dropped);
    println!("dropped {dropped}, of them copies of their survivor: {:.5}", share(family));
    println!("similar to it by 0.75, 0.78, 0.8: {:.5?}", at.map(share));
    if !wrong.is_empty() {
        println!("no copies: {wrong:?}");
    }
    Ok(())
}

/// Prints the share of pairs of one family that are found, by similarity.
fn recall(documents: &[Made], shingles: &[Shingles], found: impl Fn(usize, usize) -> bool) {
    let mut families = BTreeMap::<u32, Vec<usize>>::new();
    for (index, made) in documents.iter().enumerate() {
        families.entry(made.family).or_default().push(index);
    }
    let mut bins = BTreeMap::<u32, [u32; 2]>::new();
    let mut all = [0, 0];
    for members in families.values() {
        for (n, a) in members.iter().enumerate() {
            for b in &members[n + 1..] {
                let similarity = jaccard(&shingles[*a], &shingles[*b]);
                let hit = u32::from(found(*a, *b));
                let bin = bins.entry((similarity * 20.0) as u32).or_default();
                *bin = [bin[0] + hit, bin[1] + 1];
                if similarity >= 0.8 {
                    all = [all[0] + hit, all[1] + 1];
                }
            }
        }
    }
    for (bin, [hits, pairs]) in bins.into_iter().filter(|(bin, _)| *bin >= 10) {
        let similarity = f64::from(bin) / 20.0;
        println!(
            "recall from {similarity:.2}: {:.4} of {pairs}",
            f64::from(hits) / f64::from(pairs)
        );
    }
    println!("recall from 0.8 on: {:.5} of {}", f64::from(all[0]) / f64::from(all[1]), all[1]);
}

/// Measures independent permutations by multiply-shift in place of one permutation: speed, and
/// recall of candidates.
fn permutations(documents: &[Made], shingles: &[Shingles], bytes: usize) {
    const COUNT: usize = 126;
    let mut random = made::Random(1);
    let factors: Vec<[u64; 2]> = (0..COUNT).map(|_| [random.next() | 1, random.next()]).collect();
    let mut minima = Vec::new();
    let start = Instant::now();
    for set in shingles {
        let mut least = [u64::MAX; COUNT];
        for shingle in set {
            for (least, [a, b]) in least.iter_mut().zip(&factors) {
                *least = (*least).min(shingle.wrapping_mul(*a).wrapping_add(*b) >> 16);
            }
        }
        minima.push(least);
    }
    println!("\n{COUNT} permutations, without the hashing of shingles");
    speed("signatures", bytes, start);
    for rows in [8, 7, 6] {
        println!("candidates by {} bands of {rows}", COUNT / rows);
        recall(documents, shingles, |a, b| {
            let bands = minima[a].chunks_exact(rows).zip(minima[b].chunks_exact(rows));
            bands.into_iter().any(|(a, b)| a == b)
        });
    }
}

/// Measures the search for repeated passages and decontamination.
fn passages(documents: &[Made], bytes: usize) -> Result<(), Box<dyn Error>> {
    println!("\npassages");
    let folder = tempfile::tempdir()?;
    let mut finder = RepeatFinder::open(folder.path(), RepeatConfig::default(), &[0; 32])?;
    let start = Instant::now();
    for (made, id) in documents.iter().zip(0..) {
        finder.add(id, &made.text)?;
    }
    speed("units", bytes, start);
    let start = Instant::now();
    let mut repeats = finder.finish()?;
    speed("repeats", bytes, start);
    let mut left = 0;
    for (made, id) in documents.iter().zip(0..) {
        left += cut(&made.text, &repeats.spans(id)?).len();
    }
    println!("left: {:.3} of the bytes", left as f64 / bytes as f64);

    let mut references = DecontaminatorBuilder::new(DecontaminationConfig::default())?;
    for made in documents.iter().take(documents.len() / 50) {
        references.add(&Origin::default(), 0, &made.text)?;
    }
    let finder = references.finish()?;
    let start = Instant::now();
    let hits = documents.iter().filter(|made| finder.check(&made.text).is_some()).count();
    speed("decontamination", bytes, start);
    println!("contaminated: {hits} documents");
    Ok(())
}
