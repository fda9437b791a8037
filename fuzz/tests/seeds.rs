// SPDX-License-Identifier: Apache-2.0

//! Targets on their seeds, and on damaged ones. The bytes are the same in every run.

use pol_fuzz::targets;
use pol_primitives::prf::Prf;

/// Number of damaged inputs of each target.
const RUNS: usize = 200;

#[test]
fn seeds_are_valid() {
    for target in targets() {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            println!("seed {number} of {}", target.name);
            assert!((target.run)(seed), "seed {number} of {} is refused", target.name);
        }
    }
}

#[test]
fn damaged_seeds_harm_nobody() {
    for target in targets() {
        println!("{}", target.name);
        let mut prf = Prf::new("test/damaged-seeds", &[0; 32], &[target.name.as_bytes()]);
        let seeds = (target.seeds)();
        for seed in seeds.iter().cycle().take(RUNS) {
            (target.run)(&damaged(seed, &mut prf));
        }
    }
}

/// Returns a seed of which a few bytes are changed, and which may be cut off or longer, or bytes
/// that have nothing to do with it.
fn damaged(seed: &[u8], prf: &mut Prf) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    let mut below = |bound: usize| prf.below(bound as u32) as usize;
    for _ in 0..below(5).min(bytes.len()) {
        let at = below(bytes.len());
        bytes[at] = below(256) as u8;
    }
    match below(6) {
        0 => bytes.truncate(below(bytes.len() + 1)),
        1 => bytes.extend((0..below(40)).map(|_| below(256) as u8)),
        2 => {
            let by = below(bytes.len() + 1);
            bytes.rotate_left(by);
        }
        3 => bytes = (0..below(300)).map(|_| below(256) as u8).collect(),
        _ => {}
    }
    bytes
}
