// SPDX-License-Identifier: Apache-2.0

//! Patterns of blocks.

use pol_primitives::model::{LocalAttention, ModelSpec, OtherRotation};

/// A pattern that does not repeat within 64 blocks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PatternTooLong;

/// Returns the shortest period and the bits of the pattern of blocks where `kinds` has `true`, or
/// `None` if there are no such blocks.
pub(super) fn pattern(kinds: &[bool]) -> Result<Option<(u8, u64)>, PatternTooLong> {
    if !kinds.contains(&true) {
        return Ok(None);
    }
    let repeats =
        |period: &usize| kinds.iter().enumerate().all(|(i, kind)| *kind == kinds[i % period]);
    let period = (1..=kinds.len().min(64)).find(repeats).ok_or(PatternTooLong)?;
    let layers = (0..period).filter(|&i| kinds[i]).fold(0, |bits, i| bits | 1 << i);
    Ok(Some((period as u8, layers)))
}

/// Returns the specification of the same function whose patterns are as short as they can be, and
/// without windows and rotations that change nothing.
pub(crate) fn shortened(spec: &ModelSpec) -> ModelSpec {
    let of = |kind: &dyn Fn(u16) -> bool| {
        let kinds: Vec<bool> = (0..spec.layers).map(kind).collect();
        pattern(&kinds).ok().flatten()
    };
    let windows = of(&|block| spec.window(block).is_some_and(|window| window < spec.context));
    let local = spec.local.zip(windows).map(|(local, (period, layers))| LocalAttention {
        period,
        layers,
        ..local
    });
    let [most, other] = spec.rotations();
    let others = of(&|block| spec.has_other_rotation(block)).filter(|_| most != other);
    let other_rotation = spec
        .other_rotation
        .zip(others)
        .map(|(other, (period, layers))| OtherRotation { period, layers, ..other });
    ModelSpec { local, other_rotation, ..*spec }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_change_nothing_are_left_out() {
        let gpt2 = ModelSpec::gpt2(61, 16, 2, 4, 64, 32);
        let with = |window, period, layers| ModelSpec {
            local: Some(LocalAttention { window, period, layers }),
            ..gpt2
        };
        assert_eq!(shortened(&with(32, 1, 1)), gpt2);
        assert_eq!(shortened(&with(5, 3, 0b100)), gpt2);
        assert_eq!(shortened(&with(5, 4, 0b1010)), with(5, 2, 0b10));
    }

    #[test]
    fn patterns_are_as_short_as_can_be() {
        assert_eq!(pattern(&[false; 5]), Ok(None));
        assert_eq!(pattern(&[true; 70]), Ok(Some((1, 1))));
        assert_eq!(pattern(&[true, false, true]), Ok(Some((2, 1))));
        assert_eq!(pattern(&[true, true, false, true]), Ok(Some((3, 0b011))));
        let mut once = [false; 65];
        once[64] = true;
        assert_eq!(pattern(&once), Err(PatternTooLong));
        assert_eq!(pattern(&once[1..]), Ok(Some((64, 1 << 63))));
    }
}
