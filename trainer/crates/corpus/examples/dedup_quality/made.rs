// SPDX-License-Identifier: Apache-2.0

//! Made corpus with known duplicates and with pairs that only look like them.

/// Generator SplitMix64 (Steele, Lea, Flood, 2014).
pub(crate) struct Random(pub u64);

/// Kind of a document. Documents of one family were made from one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Base,
    Words,
    Deleted,
    Inserted,
    Reordered,
    Framed,
    Reset,
    Template,
    Short,
    Boilerplate,
    Quoting,
}

/// Made document.
pub(crate) struct Made {
    pub(crate) kind: Kind,
    pub(crate) family: u32,
    pub(crate) text: String,
}

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// A word of a vocabulary of 20,000, the frequent ones short: about Zipf's law.
    fn word(&mut self) -> String {
        const SYLLABLES: [&str; 20] = [
            "ka", "to", "ri", "men", "sol", "an", "ter", "is", "vo", "lu", "est", "pro", "ni",
            "da", "ber", "or", "ge", "ful", "ing", "ex",
        ];
        let bound = 1 << (1 + self.below(14));
        let mut rank = self.below(bound) % 20_000;
        let mut word = SYLLABLES[rank % 20].to_owned();
        while rank >= 20 {
            rank /= 20;
            word.push_str(SYLLABLES[rank % 20]);
        }
        word
    }

    fn sentence(&mut self) -> Vec<String> {
        (0..6 + self.below(16)).map(|_| self.word()).collect()
    }

    fn document(&mut self, words: usize) -> Vec<Vec<String>> {
        let (mut sentences, mut count) = (Vec::new(), 0);
        while count < words {
            sentences.push(self.sentence());
            count += sentences[sentences.len() - 1].len();
        }
        sentences
    }
}

fn write(sentences: &[Vec<String>]) -> String {
    sentences.iter().map(|sentence| sentence.join(" ") + ". ").collect()
}

/// Returns `count` families: a text, edited copies of it, and texts that are no copies.
pub(crate) fn corpus(count: u32) -> Vec<Made> {
    let mut random = Random(7);
    let mut made = Vec::new();
    let boilerplate: Vec<_> = (0..20).map(|_| random.document(120)).collect();
    for family in 0..count {
        let words = 40 << random.below(6);
        let base = random.document(words);
        for kind in [Kind::Words, Kind::Deleted, Kind::Inserted, Kind::Reordered, Kind::Framed] {
            if random.below(2) == 0 {
                let text = edited(&mut random, &base, kind);
                made.push(Made { kind, family, text });
            }
        }
        let text = write(&base).to_uppercase().replace(". ", " \n\n");
        made.push(Made { kind: Kind::Reset, family, text });
        made.push(Made { kind: Kind::Base, family, text: write(&base) });
    }
    for negative in 0..count {
        let family = count + negative;
        let kinds = [Kind::Template, Kind::Short, Kind::Boilerplate, Kind::Quoting];
        let kind = kinds[random.below(4)];
        let [a, b] = pair(&mut random, kind, &boilerplate);
        made.push(Made { kind, family, text: write(&a) });
        made.push(Made { kind, family: family + count, text: write(&b) });
    }
    // Copies come before and after their originals.
    for index in (1..made.len()).rev() {
        made.swap(index, random.below(index + 1));
    }
    made
}

/// Returns a copy with edits of one kind, of a random amount.
fn edited(random: &mut Random, base: &[Vec<String>], kind: Kind) -> String {
    let mut copy = base.to_vec();
    // Each word edited changes five shingles: up to about 5 % of the words.
    let every = 20 + random.below(300);
    match kind {
        Kind::Reordered => {
            for _ in 0..1 + base.len() / (12 + random.below(20)) {
                let (a, b) = (random.below(copy.len()), random.below(copy.len()));
                copy.swap(a, b);
            }
        }
        Kind::Framed => {
            let words = copy.iter().map(Vec::len).sum::<usize>() / (8 + random.below(40));
            let (head, tail) = (random.document(words / 2), random.document(words / 2));
            copy = [head, copy, tail].concat();
        }
        _ => {
            for sentence in &mut copy {
                let words = std::mem::take(sentence);
                for word in words {
                    match (random.below(every) == 0, kind) {
                        (true, Kind::Words) => sentence.push(random.word()),
                        (true, Kind::Deleted) => {}
                        (true, _) => sentence.extend([word, random.word()]),
                        (false, _) => sentence.push(word),
                    }
                }
            }
        }
    }
    write(&copy)
}

/// Returns two texts that have much in common but are no copies.
fn pair(
    random: &mut Random,
    kind: Kind,
    boilerplate: &[Vec<Vec<String>>],
) -> [Vec<Vec<String>>; 2] {
    match kind {
        Kind::Short => {
            let one = random.document(12);
            let mut other = one.clone();
            other[0][3] = random.word() + "q";
            [one, other]
        }
        Kind::Boilerplate => {
            let page = &boilerplate[random.below(20)];
            let words = 60 + random.below(300);
            [0; 2].map(|_| [page.clone(), random.document(words)].concat())
        }
        Kind::Quoting => {
            let one = random.document(300);
            let other = random.document(300);
            [one.clone(), [one[..one.len() / 2].to_vec(), other].concat()]
        }
        _ => {
            // A form with other facts: one word of about fifteen to forty differs.
            let (form, every) = (random.document(200), 15 + random.below(25));
            [0; 2].map(|_| {
                let mut filled = form.clone();
                for (n, word) in filled.iter_mut().flatten().enumerate() {
                    if n % every == 3 {
                        *word = random.word() + "fact";
                    }
                }
                filled
            })
        }
    }
}
