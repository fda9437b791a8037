//! What a model loses on texts of several domains, and which experts they go to.

use crate::{Decoder, Error, Layout, Utilisation, Weights};
use pol_primitives::model::ModelSpec;
use serde::Serialize;
use tch::{Kind, Tensor, no_grad};

/// How a model predicts the text of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Domain {
    /// Tokens predicted.
    pub tokens: usize,
    /// Mean cross-entropy in nats per token; 0 where none were predicted.
    pub loss: f64,
}

/// What was measured of a model.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// Each domain, in the order in which they were given.
    pub domains: Vec<Domain>,
    /// Which experts the tokens that were read went to, by domain; None for a model without
    /// experts.
    pub utilisation: Option<Utilisation>,
}

impl Examined {
    /// All domains as one, each token counting alike.
    pub fn overall(&self) -> Domain {
        let tokens = self.domains.iter().map(|domain| domain.tokens).sum();
        let sum: f64 = self.domains.iter().map(|domain| domain.loss * domain.tokens as f64).sum();
        Domain { tokens, loss: sum / (tokens as f64).max(1.0) }
    }
}

/// Has the model of `spec` with `parameters` predict the sequences of each of `domains`, all tokens
/// of each but its first. `after` is called after every sequence. A sequence has 2 tokens at least
/// and one more than the context at most.
pub fn examine(
    spec: &ModelSpec,
    parameters: &[f32],
    domains: &[Vec<Vec<u32>>],
    mut after: impl FnMut(),
) -> Result<Examined, Error> {
    let decoder = Decoder::new(spec)?.with_fused_attention(true);
    let weights = Weights::new(&Layout::new(spec)?, parameters)?;
    let mut utilisation = Utilisation::new(spec, domains.len());
    let mut examined = Vec::with_capacity(domains.len());
    for (index, sequences) in domains.iter().enumerate() {
        let (mut tokens, mut sum) = (0, 0.0);
        for sequence in sequences {
            let row: Vec<i64> = sequence.iter().copied().map(i64::from).collect();
            let row = Tensor::f_from_slice(&row)?.f_unsqueeze(0)?;
            let outcome = no_grad(|| decoder.outcome(&weights, &row))?;
            if let Some(utilisation) = &mut utilisation {
                utilisation.observe(&outcome.routing, &[index])?;
            }
            let predicted = sequence.len() - 1;
            sum += outcome.losses.f_sum(Kind::Double)?.f_double_value(&[])? * predicted as f64;
            tokens += predicted;
            after();
        }
        examined.push(Domain { tokens, loss: sum / (tokens as f64).max(1.0) });
    }
    Ok(Examined { domains: examined, utilisation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::{families, lively};
    use pol_primitives::model::Experts;

    fn domains() -> [Vec<Vec<u32>>; 2] {
        [vec![vec![1, 2, 3, 4, 5, 6, 7], vec![12, 0, 12]], vec![vec![3, 3, 9, 1]]]
    }

    #[test]
    fn each_domain_has_its_loss() {
        for (name, spec) in families() {
            let flat = lively(&spec);
            let mut calls = 0;
            let examined = examine(&spec, &flat, &domains(), || calls += 1).unwrap();
            assert_eq!((calls, examined.utilisation.is_none()), (3, true));
            let weights = Weights::new(&Layout::new(&spec).unwrap(), &flat).unwrap();
            let loss = |row: &[i64]| {
                let row = Tensor::from_slice(row).unsqueeze(0);
                Decoder::new(&spec).unwrap().loss(&weights, &row).unwrap().double_value(&[0])
            };
            let expected = (6.0 * loss(&[1, 2, 3, 4, 5, 6, 7]) + 2.0 * loss(&[12, 0, 12])) / 8.0;
            let [first, second] = examined.domains[..] else { panic!("two domains") };
            assert!(
                first.tokens == 8 && (first.loss - expected).abs() < 1e-5,
                "{name}: {first:?} for {expected}"
            );
            assert_eq!(second.tokens, 3);
            let overall = examined.overall();
            assert_eq!(overall.tokens, 11);
            assert!((overall.loss * 11.0 - first.loss * 8.0 - second.loss * 3.0).abs() < 1e-9);
        }
    }

    #[test]
    fn each_token_read_is_counted_where_it_went() {
        let spec = ModelSpec { experts: Some(Experts::new(3, 2)), ..families()[0].1 };
        let seen = examine(&spec, &lively(&spec), &domains(), || ()).unwrap().utilisation.unwrap();
        for block in 0..2 {
            let choices = [Some(0), Some(1), None]
                .map(|domain| seen.loads(domain, block).iter().sum::<u64>());
            assert_eq!(choices, [16, 6, 22]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let spec = families()[0].1;
        let refused =
            |sequence: Vec<u32>| examine(&spec, &lively(&spec), &[vec![sequence]], || ()).is_err();
        assert!(
            refused(Vec::new()) && refused(vec![1]) && refused(vec![1; 8]) && !refused(vec![1; 7])
        );
    }
}
