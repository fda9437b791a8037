// SPDX-License-Identifier: Apache-2.0

//! Loss and expert utilisation of a model on texts of several domains, and the size of batches of
//! evaluations.

use crate::{Decoder, Error, ExpertUtilisation, Layout, Weights};
use pol_primitives::model::ModelSpec;
use serde::Serialize;
use tch::{Kind, Tensor, no_grad};

/// Loss of a model on the text of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DomainLoss {
    /// Number of tokens predicted.
    pub tokens: usize,
    /// Mean cross-entropy in nats per token; 0 if no token was predicted.
    pub loss: f64,
}

/// Measurements of a model on several domains.
#[derive(Clone, Debug, Serialize)]
pub struct DomainReport {
    /// Loss on each domain, in the order given.
    pub domains: Vec<DomainLoss>,
    /// Number of tokens that each expert processed, by domain; `None` for a model without experts.
    pub utilisation: Option<ExpertUtilisation>,
}

impl DomainReport {
    /// Returns the loss on all domains together, weighted by tokens.
    pub fn overall(&self) -> DomainLoss {
        let tokens = self.domains.iter().map(|domain| domain.tokens).sum();
        let sum: f64 = self.domains.iter().map(|domain| domain.loss * domain.tokens as f64).sum();
        DomainLoss { tokens, loss: sum / (tokens as f64).max(1.0) }
    }
}

/// Most sequences that are evaluated at a time.
pub const MAX_EVALUATION_BATCH: usize = 8;
/// Most logits of a batch of several sequences, and most scores of its attention in a block. As
/// float32 they take 1 GiB each.
const MAX_EVALUATED_VALUES: u64 = 1 << 28;

/// Returns the number of sequences that are evaluated at a time, each of `length` inputs:
/// [`MAX_EVALUATION_BATCH`], or fewer so that logits take at most 1 GiB, and scores of attention in
/// a block too. A single sequence may take more.
///
/// Bits of losses may depend on the batch. Its size follows from the model and the length alone, so
/// that all machines compute the same.
pub fn evaluation_batch(spec: &ModelSpec, length: usize) -> usize {
    let length = length as u64;
    let scores = u64::from(spec.heads).saturating_mul(length);
    let values = length.saturating_mul(scores.max(spec.vocabulary.into()));
    (MAX_EVALUATED_VALUES / values.max(1)).clamp(1, MAX_EVALUATION_BATCH as u64) as usize
}

/// Measures how well the model of `spec` with `parameters` predicts the sequences of each of
/// `domains`. All tokens of a sequence but the first are predicted. Calls `after_sequence` after
/// every sequence.
///
/// # Errors
///
/// Fails if `spec` is invalid, if `parameters` belong to another model, or if a sequence has fewer
/// than 2 tokens or more than the context plus one.
pub fn evaluate_domains(
    spec: &ModelSpec,
    parameters: &[f32],
    domains: &[Vec<Vec<u32>>],
    mut after_sequence: impl FnMut(),
) -> Result<DomainReport, Error> {
    let decoder = Decoder::new(spec)?.with_fused_attention(true);
    let weights = Weights::new(&Layout::new(spec)?, parameters)?;
    let mut utilisation = ExpertUtilisation::new(spec, domains.len());
    let mut losses = Vec::with_capacity(domains.len());
    for (index, sequences) in domains.iter().enumerate() {
        let (mut tokens, mut sum) = (0, 0.0);
        for sequence in sequences {
            let row: Vec<i64> = sequence.iter().copied().map(i64::from).collect();
            let row = Tensor::f_from_slice(&row)?.f_unsqueeze(0)?;
            let output = no_grad(|| decoder.forward_loss(&weights, &row))?;
            if let Some(utilisation) = &mut utilisation {
                utilisation.observe(&output.routing, &[index])?;
            }
            let predicted = sequence.len() - 1;
            sum += output.losses.f_sum(Kind::Double)?.f_double_value(&[])? * predicted as f64;
            tokens += predicted;
            after_sequence();
        }
        losses.push(DomainLoss { tokens, loss: sum / (tokens as f64).max(1.0) });
    }
    Ok(DomainReport { domains: losses, utilisation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::{families, large_parameters};
    use pol_primitives::model::Experts;

    fn domains() -> [Vec<Vec<u32>>; 2] {
        [vec![vec![1, 2, 3, 4, 5, 6, 7], vec![12, 0, 12]], vec![vec![3, 3, 9, 1]]]
    }

    #[test]
    fn each_domain_has_its_loss() {
        for (name, spec) in families() {
            let flat = large_parameters(&spec);
            let mut calls = 0;
            let examined = evaluate_domains(&spec, &flat, &domains(), || calls += 1).unwrap();
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
        let seen = evaluate_domains(&spec, &large_parameters(&spec), &domains(), || ())
            .unwrap()
            .utilisation
            .unwrap();
        for block in 0..2 {
            let choices = [Some(0), Some(1), None]
                .map(|domain| seen.loads(domain, block).iter().sum::<u64>());
            assert_eq!(choices, [16, 6, 22]);
        }
    }

    #[test]
    fn batches_of_evaluations_fit_in_memory() {
        let spec = |vocabulary, heads| ModelSpec::gpt2(vocabulary, 64, 2, heads, 256, 65_535);
        // The demo's network reads as many as ever.
        assert_eq!(evaluation_batch(&spec(8_192, 4), 128), MAX_EVALUATION_BATCH);
        for vocabulary in [2, 50_257, 151_936, 1_000_000] {
            for (heads, length) in [(1, 0), (4, 511), (16, 4_096), (64, 65_535)] {
                let batch = evaluation_batch(&spec(vocabulary, heads), length);
                let values = length * (length * usize::from(heads)).max(vocabulary as usize);
                assert!((1..=MAX_EVALUATION_BATCH).contains(&batch));
                assert!(batch == 1 || batch * values * 4 <= 1 << 30, "{batch} {values}");
                // No smaller than memory asks for.
                let next = batch + 1;
                assert!(next > MAX_EVALUATION_BATCH || next * values * 4 > 1 << 30, "{batch}");
            }
        }
        assert_eq!(evaluation_batch(&spec(151_936, 4), 1_024), 1);
        assert_eq!(evaluation_batch(&spec(50_257, 4), 1_024), 5);
    }

    #[test]
    fn invalid_sequences_are_refused() {
        let spec = families()[0].1;
        let refused = |sequence: Vec<u32>| {
            evaluate_domains(&spec, &large_parameters(&spec), &[vec![sequence]], || ()).is_err()
        };
        assert!(
            refused(Vec::new()) && refused(vec![1]) && refused(vec![1; 8]) && !refused(vec![1; 7])
        );
    }
}
