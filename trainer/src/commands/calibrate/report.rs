// SPDX-License-Identifier: Apache-2.0

//! Results of a calibration.

use super::TIER;
use pol_primitives::{
    MILLION, Ppm,
    recipe::{MAX_TOLERANCE, MIN_TOLERANCE, Recipe},
    sketch::{PARTS, part},
};
use serde::{Deserialize, Serialize};

/// Smallest ratio of a tolerance to the largest honest distance. With less, the estimate of a
/// sketch may exceed the tolerance.
const HONEST_MARGIN: f64 = 3.0;
/// Smallest ratio of a cheat's distance to a tolerance. With less, the estimate of a sketch may be
/// below the tolerance.
const CHEAT_MARGIN: f64 = 2.0;

/// Distance between the end of a segment and the end that the reference reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Distance {
    /// Index of the segment.
    pub(super) segment: u16,
    /// Exact distance of each part, `None` if the reference did not change the part.
    pub(super) exact: [Option<f64>; PARTS],
    /// Distance of each part as sketches estimate it.
    pub(super) sketched: [Ppm; PARTS],
    /// Share of the segment's improvement on other text that is lost, if it was measured.
    pub(super) harm: Option<f64>,
}

impl Distance {
    /// Returns the largest exact distance, and its part.
    fn largest(&self) -> (f64, usize) {
        let known =
            self.exact.iter().enumerate().filter_map(|(part, distance)| Some(((*distance)?, part)));
        known.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0))
    }

    /// Returns the largest distance that sketches estimate.
    fn largest_sketched(&self) -> Ppm {
        self.sketched.into_iter().max().unwrap_or(0)
    }
}

/// Distances of one setting or cheat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// Name of the setting or cheat.
    pub(super) name: String,
    /// `true` if a tolerance must tell it from honest replays.
    pub(super) must_be_caught: bool,
    /// Distance of each measured segment.
    pub(super) distances: Vec<Distance>,
}

/// Result of a calibration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Calibration {
    /// Parameters of the model.
    parameters: u64,
    /// Steps of a segment.
    steps: u16,
    /// `true` if a CUDA device took part.
    cuda: bool,
    /// Honest replays.
    honest: Vec<Row>,
    /// Cheats.
    cheats: Vec<Row>,
    /// Largest distance of an honest replay.
    spread: f64,
    /// Smallest distance of a cheat that must be caught.
    cheapest: f64,
    /// Tolerance for a recipe, `None` if no tolerance keeps both margins.
    tolerance: Option<Ppm>,
}

impl Calibration {
    pub(super) fn new(recipe: &Recipe, cuda: bool, honest: Vec<Row>, cheats: Vec<Row>) -> Self {
        let distances = |rows: &[Row], must: bool| -> Vec<f64> {
            let rows = rows.iter().filter(|row| row.must_be_caught == must);
            rows.flat_map(|row| &row.distances).map(|distance| distance.largest().0).collect()
        };
        let spread = distances(&honest, false).into_iter().fold(0.0, f64::max);
        let cheapest = distances(&cheats, true).into_iter().fold(f64::INFINITY, f64::min);
        Self {
            parameters: recipe.model.size(),
            steps: recipe.steps_per_segment(TIER),
            cuda,
            honest,
            cheats,
            spread,
            cheapest,
            tolerance: propose_tolerance(spread, cheapest),
        }
    }

    pub(super) fn print(&self) {
        println!(
            "{} parameters, {} steps per segment, CUDA: {}",
            self.parameters,
            self.steps,
            if self.cuda { "yes" } else { "no" }
        );
        println!(
            "largest relative L2 distance from the reference in millionths, exact and as sketched; \
             harm in % of the improvement; part with that distance"
        );
        print_rows("honest", &self.honest);
        print_rows("cheats", &self.cheats);
        println!(
            "\nhonest replays end up to {:.1} millionths apart, the cheapest cheat {:.1}",
            self.spread * 1e6,
            self.cheapest * 1e6
        );
        match self.tolerance {
            Some(tolerance) => self.print_tolerance(tolerance),
            None => println!(
                "no tolerance is {HONEST_MARGIN} times the first and leaves the second \
                 {CHEAT_MARGIN} times itself"
            ),
        }
    }

    fn print_tolerance(&self, tolerance: Ppm) {
        let share = f64::from(tolerance) / f64::from(MILLION);
        println!(
            "tolerance: {tolerance} millionths, {:.1} times the first; the second is {:.1} times \
             the tolerance",
            share / self.spread,
            self.cheapest / share
        );
        for row in &self.cheats {
            let estimates = row.distances.iter().map(Distance::largest_sketched);
            let caught = estimates.filter(|&sketched| sketched > tolerance).count();
            println!("  {:<34} caught in {caught} of {} segments", row.name, row.distances.len());
        }
    }
}

fn print_rows(title: &str, rows: &[Row]) {
    println!(
        "\n{title:<34} {:>7} {:>10} {:>9} {:>7}  part",
        "segment", "exact", "sketched", "harm"
    );
    for row in rows {
        for distance in &row.distances {
            let (exact, at) = distance.largest();
            let harm = distance.harm.map_or(String::new(), |harm| format!("{:.2}", harm * 100.0));
            let at = part(at).filter(|_| exact > 0.0);
            let at = at.map_or(String::new(), |(array, group)| format!("{group:?} of {array:?}"));
            println!(
                "{:<34} {:>7} {:>10.1} {:>9} {harm:>7}  {at}",
                row.name,
                distance.segment,
                exact * 1e6,
                distance.largest_sketched()
            );
        }
    }
}

/// Returns the geometric mean of the honest spread and the cheapest cheat's distance, moved as far
/// as the margins require. Returns `None` if no tolerance keeps both margins.
fn propose_tolerance(spread: f64, cheapest: f64) -> Option<Ppm> {
    let least = (spread * HONEST_MARGIN).max(f64::from(MIN_TOLERANCE) / 1e6);
    let most = (cheapest / CHEAT_MARGIN).min(f64::from(MAX_TOLERANCE) / 1e6);
    let middle = (spread * cheapest).sqrt();
    (least <= most).then(|| (middle.clamp(least, most) * 1e6).round() as Ppm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_keeps_its_distance_from_both() {
        assert_eq!(propose_tolerance(1e-4, 1e-2), Some(1_000), "the geometric mean");
        assert_eq!(propose_tolerance(1e-3, 1e-2), Some(3_162));
        assert_eq!(propose_tolerance(1e-6, 1e-2), Some(MIN_TOLERANCE), "the protocol's minimum");
        assert_eq!(propose_tolerance(2e-3, 1.3e-2), Some(6_000), "three times the spread");
        assert_eq!(propose_tolerance(2e-3, 1.1e-2), None);
        assert_eq!(propose_tolerance(1e-6, 1e-3), None);
    }
}
