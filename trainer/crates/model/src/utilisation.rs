// SPDX-License-Identifier: Apache-2.0

use crate::{Error, Routing};
use pol_primitives::model::ModelSpec;
use serde::Serialize;

/// Number of tokens that each expert of each block processed, by the domain of their text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpertUtilisation {
    /// Number of choices by domain, block and expert.
    counts: Vec<Vec<Vec<u64>>>,
}

impl ExpertUtilisation {
    /// Creates empty counts for texts of `domains` domains. Returns `None` for a model without
    /// experts.
    pub fn new(spec: &ModelSpec, domains: usize) -> Option<Self> {
        let block = vec![0; spec.experts?.count.into()];
        Some(Self { counts: vec![vec![block; spec.layers.into()]; domains] })
    }

    /// Counts the choices of every block for a batch. `domains` has the domain of each sequence.
    ///
    /// # Errors
    ///
    /// Fails if `routing` belongs to another model or a domain does not exist.
    pub fn observe(&mut self, routing: &[Routing], domains: &[usize]) -> Result<(), Error> {
        let observed = self.counts.first().map_or(0, Vec::len);
        if routing.len() != observed {
            return Err(Error::Length { expected: observed, found: routing.len() });
        }
        for (block, routing) in routing.iter().enumerate() {
            let chosen = Vec::<i64>::try_from(routing.chosen.f_reshape([-1])?)?;
            let each = chosen.len() / domains.len().max(1);
            for (&domain, chosen) in domains.iter().zip(chosen.chunks(each.max(1))) {
                let known = self.counts.len();
                let of_domain = self
                    .counts
                    .get_mut(domain)
                    .ok_or(Error::Length { expected: known, found: domain })?;
                for &expert in chosen {
                    let count = usize::try_from(expert)
                        .ok()
                        .and_then(|expert| of_domain[block].get_mut(expert));
                    *count.ok_or(Error::Length {
                        expected: routing.load.len(),
                        found: expert as usize,
                    })? += 1;
                }
            }
        }
        Ok(())
    }

    /// Returns the number of choices of each expert in `block` for texts of `domain`, or of all
    /// domains if that is `None`.
    pub fn loads(&self, domain: Option<usize>, block: usize) -> Vec<u64> {
        let domains = self
            .counts
            .iter()
            .enumerate()
            .filter(|(index, _)| domain.is_none_or(|domain| domain == *index));
        let blocks: Vec<_> = domains.filter_map(|(_, blocks)| blocks.get(block)).collect();
        (0..self.experts()).map(|expert| blocks.iter().map(|counts| counts[expert]).sum()).collect()
    }

    /// Returns the share of each expert in those choices. The shares sum to 1, or are all 0 if
    /// nothing was counted.
    pub fn shares(&self, domain: Option<usize>, block: usize) -> Vec<f64> {
        let loads = self.loads(domain, block);
        let total = loads.iter().sum::<u64>().max(1);
        loads.into_iter().map(|load| load as f64 / total as f64).collect()
    }

    /// Returns the number of blocks.
    pub fn blocks(&self) -> usize {
        self.counts.first().map_or(0, Vec::len)
    }

    /// Returns the number of experts per block.
    pub fn experts(&self) -> usize {
        self.counts.first().and_then(|blocks| blocks.first()).map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::model::Experts;
    use tch::Tensor;

    #[test]
    fn use_is_counted_by_domain() {
        let spec =
            ModelSpec { experts: Some(Experts::new(3, 2)), ..ModelSpec::gpt2(11, 6, 2, 2, 10, 8) };
        let routing = |chosen: &[i64]| Routing {
            chosen: Tensor::from_slice(chosen).view([-1, 2]),
            load: vec![0; 3],
            balance: Tensor::from(0.0),
            z: Tensor::from(0.0),
            bias_loss: Tensor::from(0.0),
        };
        // Two sequences of two tokens.
        let both = [routing(&[0, 1, 0, 2, 1, 2, 1, 2]), routing(&[0, 1, 0, 1, 0, 1, 0, 1])];
        let mut seen = ExpertUtilisation::new(&spec, 2).unwrap();
        seen.observe(&both, &[1, 0]).unwrap();
        assert_eq!(seen.shares(Some(1), 0), [0.5, 0.25, 0.25]);
        assert_eq!(seen.shares(Some(0), 0), [0.0, 0.5, 0.5]);
        assert_eq!(seen.shares(None, 0), [0.25, 0.375, 0.375]);
        assert_eq!(seen.shares(None, 1), [0.5, 0.5, 0.0]);
        assert_eq!(
            (seen.loads(None, 1), seen.loads(Some(0), 0), seen.loads(None, 2)),
            (vec![4, 4, 0], vec![0, 2, 2], vec![0; 3])
        );
        assert_eq!((seen.blocks(), seen.experts()), (2, 3));
        assert!(seen.observe(&both, &[0, 2]).is_err());
        assert!(seen.observe(&both[..1], &[0, 1]).is_err());
        assert!(seen.observe(&[routing(&[0, 3]), routing(&[0, 1])], &[0]).is_err());
        assert!(ExpertUtilisation::new(&ModelSpec { experts: None, ..spec }, 2).is_none());
    }
}
