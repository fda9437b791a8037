// SPDX-License-Identifier: Apache-2.0

//! Cost of a guess at a password.

use zeroize::Zeroizing;

/// Maximum of `N·r·p`: twice the work of [`Cost::STANDARD`], and at most 256 MiB of memory.
const MAX_WORK: u64 = 1 << 21;
/// Bytes of the encoded parameters.
pub(crate) const COST_BYTES: usize = 12;

/// Parameters of scrypt (RFC 7914), by which a password becomes a key.
///
/// They bound memory and time. A file of a stranger cannot ask for more than 256 MiB and twice the
/// work of [`Cost::STANDARD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    log_n: u8,
    r: u32,
    p: u32,
}

impl Cost {
    /// Cost of new files: 128 MiB, and some tenths of a second. It is that of Polkadot-JS since
    /// 2025, and the one that OWASP recommends.
    pub const STANDARD: Self = Self { log_n: 17, r: 8, p: 1 };

    /// Creates a cost with `N = 2^log_n`, or returns `None` if it is out of bounds.
    pub fn new(log_n: u8, r: u32, p: u32) -> Option<Self> {
        let n = 1_u64.checked_shl(log_n.into()).filter(|_| log_n > 0)?;
        let work = n.checked_mul(r.into())?.checked_mul(p.into())?;
        let is_sound = scrypt::Params::new(log_n, r, p).is_ok();
        (is_sound && work <= MAX_WORK).then_some(Self { log_n, r, p })
    }

    /// Reads `N`, `p` and `r`, in this order, as little-endian numbers of 32 bits.
    pub(crate) fn read(bytes: &[u8; COST_BYTES]) -> Result<Self, [u32; 3]> {
        let [n, p, r] = [0, 4, 8]
            .map(|at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        let log_n = n.is_power_of_two().then(|| n.trailing_zeros() as u8);
        log_n.and_then(|log_n| Self::new(log_n, r, p)).ok_or([n, r, p])
    }

    /// Returns the bytes that [`Self::read`] reads.
    pub(crate) fn to_bytes(self) -> [u8; COST_BYTES] {
        let mut bytes = [0; COST_BYTES];
        for (at, number) in [1 << self.log_n, self.p, self.r].into_iter().enumerate() {
            bytes[at * 4..][..4].copy_from_slice(&u32::to_le_bytes(number));
        }
        bytes
    }

    /// Returns the key that a password and a salt give.
    pub(crate) fn derive(self, password: &str, salt: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let parameters = scrypt::Params::new(self.log_n, self.r, self.p).ok()?;
        let mut key = Zeroizing::new([0; 32]);
        scrypt::scrypt(password.as_bytes(), salt, &parameters, &mut key[..]).ok()?;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn costs_of_wallets_are_accepted() {
        // The six that Polkadot-JS accepts.
        for (log_n, r, p) in
            [(13, 8, 10), (14, 8, 5), (15, 8, 3), (15, 8, 1), (16, 8, 2), (17, 8, 1)]
        {
            assert!(Cost::new(log_n, r, p).is_some(), "{log_n} {r} {p}");
        }
        assert_eq!(Cost::new(17, 8, 1), Some(Cost::STANDARD));
    }

    #[test]
    fn costs_beyond_the_bounds_are_refused() {
        // The first asks for 16 GiB.
        for (log_n, r, p) in [(24, 8, 1), (17, 8, 3), (63, 1, 1), (64, 1, 1), (255, 8, 1)] {
            assert_eq!(Cost::new(log_n, r, p), None, "{log_n} {r} {p}");
        }
        for (log_n, r, p) in [(0, 8, 1), (14, 0, 1), (14, 8, 0), (14, u32::MAX, u32::MAX)] {
            assert_eq!(Cost::new(log_n, r, p), None, "{log_n} {r} {p}");
        }
    }

    #[test]
    fn the_key_is_that_of_the_standard() {
        // A vector of RFC 7914, section 12.
        let key = Cost::new(10, 8, 16).unwrap().derive("password", b"NaCl").unwrap();
        let expected = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162";
        assert_eq!(hex::encode(&key[..]), expected);
    }

    proptest! {
        #[test]
        fn what_is_read_is_bounded_and_written_again(bytes: [u8; COST_BYTES]) {
            if let Ok(cost) = Cost::read(&bytes) {
                prop_assert_eq!(cost.to_bytes(), bytes);
                prop_assert!((u64::from(cost.r) << cost.log_n) * u64::from(cost.p) <= MAX_WORK);
            }
        }

        #[test]
        fn every_cost_is_read_as_written(log_n in 1_u8..22, r in 1_u32..9, p in 1_u32..9) {
            if let Some(cost) = Cost::new(log_n, r, p) {
                prop_assert_eq!(Cost::read(&cost.to_bytes()), Ok(cost));
            }
        }
    }
}
