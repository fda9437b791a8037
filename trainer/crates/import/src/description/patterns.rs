// SPDX-License-Identifier: Apache-2.0

//! Patterns of blocks.

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

#[cfg(test)]
mod tests {
    use super::*;

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
