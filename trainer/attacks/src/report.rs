//! What came of every attack: the table on the terminal and `attacks.json`.

use serde::Serialize;
use std::fmt::Write;

/// What came of one attack.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its number in `docs/attacks.md`.
    pub class: u8,
    /// What was done.
    pub attack: &'static str,
    /// How often.
    pub attempts: u64,
    /// How often something false was among what was looked at.
    pub sampled: u64,
    /// How often that was found, or the attack refused.
    pub detected: u64,
    /// How often a bond paid for it.
    pub slashed: u64,
    /// Honest updates that were taken for an attack meanwhile.
    pub false_positives: u64,
    /// The rate that the requirement is about lies in here with a probability of 95 %.
    pub interval: [f64; 2],
    /// What has to be.
    pub required: &'static str,
    /// Whether it was.
    pub held: bool,
    /// Figures and reasons.
    pub note: String,
}

impl Row {
    /// A row of an attack that was not tried yet.
    pub fn new(class: u8, attack: &'static str, required: &'static str) -> Self {
        let interval = [0.0, 1.0];
        Self {
            class,
            attack,
            attempts: 0,
            sampled: 0,
            detected: 0,
            slashed: 0,
            false_positives: 0,
            interval,
            required,
            held: false,
            note: String::new(),
        }
    }

    /// Counts of attempts, of samples of something false and of detections; the interval is that of
    /// detections per sample.
    pub fn counted(mut self, attempts: u64, sampled: u64, detected: u64) -> Self {
        (self.attempts, self.sampled, self.detected) = (attempts, sampled, detected);
        self.interval = wilson(detected, sampled);
        self
    }

    /// `count` tries, each of which should have been found or refused; `found` were.
    pub fn tried(self, count: u64, found: u64) -> Self {
        self.counted(count, count, found)
    }

    /// How often a bond paid.
    pub fn slashed(mut self, slashed: u64) -> Self {
        self.slashed = slashed;
        self
    }

    /// Whether the requirement held, and what there is to say about it.
    pub fn held(mut self, held: bool, note: impl Into<String>) -> Self {
        (self.held, self.note) = (held, note.into());
        self
    }

    /// An attack that could not be tried to its end.
    pub fn failed(self, error: &anyhow::Error) -> Self {
        self.held(false, format!("could not be tried: {error:#}"))
    }
}

/// The 95 % interval of a rate that gave `hits` of `tries` (Wilson 1927, "Probable Inference, the
/// Law of Succession, and Statistical Inference").
pub fn wilson(hits: u64, tries: u64) -> [f64; 2] {
    if tries == 0 {
        return [0.0, 1.0];
    }
    const Z: f64 = 1.959_964;
    let (hits, tries) = (hits as f64, tries as f64);
    let rate = hits / tries;
    let whole = 1.0 + Z * Z / tries;
    let middle = rate + Z * Z / (2.0 * tries);
    let reach = Z * (rate * (1.0 - rate) / tries + Z * Z / (4.0 * tries * tries)).sqrt();
    [((middle - reach) / whole).max(0.0), ((middle + reach) / whole).min(1.0)]
}

/// The rows for people, notes below.
pub fn table(rows: &[Row]) -> String {
    let widest = |text: fn(&Row) -> &str, title: usize| {
        rows.iter().map(|row| text(row).chars().count()).max().unwrap_or(0).max(title)
    };
    let (attack, required) = (widest(|row| row.attack, 6), widest(|row| row.required, 8));
    let mut text = format!(
        "{:>2}  {:attack$}  {:>8}  {:>7}  {:>8}  {:>7}  {:>9}  {:>15}  {:required$}  held\n",
        "#",
        "attack",
        "attempts",
        "sampled",
        "detected",
        "slashed",
        "false pos",
        "95 % interval",
        "required"
    );
    for row in rows {
        let interval = format!("{:.3} – {:.3}", row.interval[0], row.interval[1]);
        let held = if row.held { "yes" } else { "NO" };
        let Row { class, attempts, sampled, detected, slashed, false_positives, .. } = row;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{class:>2}  {:attack$}  {attempts:>8}  {sampled:>7}  {detected:>8}  {slashed:>7}  {false_positives:>9}  {interval:>15}  {:required$}  {held}",
            row.attack, row.required
        );
    }
    text.push('\n');
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        let _ = writeln!(text, "{:>2}  {}: {}", row.class, row.attack, row.note);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        // Values of the formula as published in tables.
        let [low, high] = wilson(10, 10);
        assert!((low - 0.7225).abs() < 1e-3 && (high - 1.0).abs() < 1e-9);
        let [low, high] = wilson(0, 10_000);
        assert!(low.abs() < 1e-9 && (high - 0.000_384).abs() < 1e-5);
        let [low, high] = wilson(50, 100);
        assert!((low - 0.4038).abs() < 1e-3 && (high - 0.5962).abs() < 1e-3);
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }

    #[test]
    fn a_row_says_what_it_counted() {
        let row = Row::new(1, "zeros", "100 %").tried(3, 3).slashed(3).held(true, "three of three");
        let text = table(std::slice::from_ref(&row));
        assert!(
            text.contains("zeros") && text.contains("0.439 – 1.000") && text.contains("yes"),
            "{text}"
        );
        assert!(table(&[row.held(false, "")]).contains("NO"));
    }
}
