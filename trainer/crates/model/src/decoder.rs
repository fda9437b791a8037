use crate::{Error, Weights};
use pol_primitives::model::{Gpt2Spec, InvalidSpec, ModelSpec};
use tch::{Device, Kind, Reduction, Tensor};

/// Added to the variance in LayerNorm.
const EPSILON: f64 = 1e-5;
/// Parameter tensors of a block.
const BLOCK: usize = 12;

/// The forward pass of a GPT-2 shaped decoder; holds sizes only, so threads can share it.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    context: i64,
    width: i64,
    heads: i64,
}

impl Decoder {
    /// The decoder that `spec` describes.
    pub fn new(spec: &ModelSpec) -> Result<Self, InvalidSpec> {
        spec.validate()?;
        let ModelSpec::Gpt2(Gpt2Spec { width, heads, context, .. }) = *spec;
        Ok(Self { context: context.into(), width: width.into(), heads: heads.into() })
    }

    /// Mean cross-entropy of each sequence in nats per token, float32 `[batch]`, of predicting every token of `tokens`
    /// (int64 `[batch, length + 1]`, on the device of the weights) but the first from those before it.
    pub fn loss(&self, weights: &Weights, tokens: &Tensor) -> Result<Tensor, Error> {
        let (batch, longer) = tokens.size2()?;
        let length = longer - 1;
        let logits = self.logits(weights, &tokens.f_narrow(1, 0, length)?)?;
        let targets = tokens.f_narrow(1, 1, length)?.f_reshape([-1])?;
        let losses = logits.f_cross_entropy_loss(&targets, None::<Tensor>, Reduction::None, -100, 0.0)?;
        Ok(losses.f_view([batch, length])?.f_mean_dim([1].as_slice(), false, Kind::Float)?)
    }

    /// Scores of every next token, float32 `[batch · length, vocabulary]`, after each of `tokens` (int64
    /// `[batch, length]`).
    pub fn logits(&self, weights: &Weights, tokens: &Tensor) -> Result<Tensor, Error> {
        let (batch, length) = tokens.size2()?;
        if length < 1 || length > self.context {
            return Err(Error::Batch { context: self.context, found: length + 1 });
        }
        let [embedding, positions, blocks @ .., norm, norm_bias] = weights.tensors() else {
            return Err(Error::Length { expected: BLOCK, found: weights.tensors().len() });
        };
        let mask = causal_mask(length, tokens.device())?;
        let mut x = Tensor::f_embedding(embedding, tokens, -1, false, false)?
            .f_add(&positions.f_narrow(0, 0, length)?)?
            .f_view([batch * length, self.width])?;
        for block in blocks.as_chunks::<BLOCK>().0 {
            let [norm1, norm1_bias, qkv, qkv_bias, out, out_bias, norm2, norm2_bias, up, up_bias, down, down_bias] = block;
            let normed = self.layer_norm(&x, norm1, norm1_bias)?;
            let attended = self.attend(&qkv_bias.f_addmm(&normed, qkv)?, &mask, batch, length)?;
            x = x.f_add(&out_bias.f_addmm(&attended, out)?)?;
            let normed = self.layer_norm(&x, norm2, norm2_bias)?;
            let hidden = up_bias.f_addmm(&normed, up)?.f_gelu("tanh")?;
            x = x.f_add(&down_bias.f_addmm(&hidden, down)?)?;
        }
        Ok(self.layer_norm(&x, norm, norm_bias)?.f_mm(&embedding.f_transpose(0, 1)?)?)
    }

    fn layer_norm(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, Error> {
        Ok(x.f_layer_norm([self.width], Some(weight), Some(bias), EPSILON, false)?)
    }

    /// Causal multi-head attention over `qkv` `[batch · length, 3 · width]`; gives `[batch · length, width]`.
    fn attend(&self, qkv: &Tensor, mask: &Tensor, batch: i64, length: i64) -> Result<Tensor, Error> {
        let size = self.width / self.heads;
        let parts = qkv
            .f_view([batch, length, 3, self.heads, size])?
            .f_permute([2, 0, 3, 1, 4])?
            .f_reshape([3, batch * self.heads, length, size])?
            .f_unbind(0)?;
        let [queries, keys, values] = parts.as_slice() else {
            return Err(Error::Length { expected: 3, found: parts.len() });
        };
        // mask + queries · keysᵀ / √size in one product.
        let scores = mask.f_baddbmm(queries, &keys.f_transpose(1, 2)?, 1.0, 1.0 / (size as f64).sqrt())?;
        let mixed = scores.f_softmax(-1, Kind::Float)?.f_bmm(values)?;
        let joined = mixed.f_view([batch, self.heads, length, size])?.f_transpose(1, 2)?;
        Ok(joined.f_reshape([batch * length, self.width])?)
    }
}

/// What is added to the scores, `[1, length, length]`: minus infinity where a key comes after the query.
fn causal_mask(length: i64, device: Device) -> Result<Tensor, Error> {
    Ok(Tensor::f_full([1, length, length], f64::NEG_INFINITY, (Kind::Float, device))?.f_triu(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Layout, initial_parameters};

    fn spec() -> ModelSpec {
        ModelSpec::Gpt2(Gpt2Spec { vocabulary: 13, width: 8, layers: 2, heads: 2, feed_forward: 12, context: 6 })
    }

    fn tokens(rows: &[[i64; 7]]) -> Tensor {
        Tensor::from_slice(rows.as_flattened()).view([rows.len() as i64, 7])
    }

    fn losses(flat: &[f32], tokens: &Tensor) -> Vec<f32> {
        let weights = Weights::new(&Layout::new(&spec()).unwrap(), flat).unwrap();
        let losses = Decoder::new(&spec()).unwrap().loss(&weights, tokens).unwrap();
        Vec::try_from(losses).unwrap()
    }

    /// Parameters large enough that every path through the model matters.
    fn lively() -> Vec<f32> {
        initial_parameters(&spec(), &[3; 32]).into_iter().enumerate().map(|(i, v)| v * 15.0 + (i % 7) as f32 * 0.01).collect()
    }

    const ROWS: [[i64; 7]; 2] = [[1, 2, 3, 4, 5, 6, 7], [12, 0, 12, 3, 3, 9, 1]];

    #[test]
    fn a_fresh_model_knows_nothing() {
        for loss in losses(&initial_parameters(&spec(), &[1; 32]), &tokens(&ROWS)) {
            assert!((loss - 13f32.ln()).abs() < 0.05, "loss {loss}");
        }
    }

    #[test]
    fn no_position_sees_the_future() {
        let weights = Weights::new(&Layout::new(&spec()).unwrap(), &lively()).unwrap();
        let logits = |rows: &[i64]| {
            let logits = Decoder::new(&spec()).unwrap().logits(&weights, &Tensor::from_slice(rows).view([1, 6])).unwrap();
            Vec::<f32>::try_from(logits.reshape([-1])).unwrap()
        };
        let (first, second) = (logits(&[1, 2, 3, 4, 5, 6]), logits(&[1, 2, 3, 9, 0, 11]));
        assert_eq!(first[..3 * 13], second[..3 * 13]);
        assert_ne!(first[3 * 13..4 * 13], second[3 * 13..4 * 13]);
    }

    #[test]
    fn sequences_of_a_batch_do_not_mix() {
        let both = losses(&lively(), &tokens(&ROWS));
        let alone = losses(&lively(), &tokens(&ROWS[1..]));
        assert!((both[1] - alone[0]).abs() < 1e-5);
        assert!((both[0] - both[1]).abs() > 1e-3);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let (layout, decoder, tokens) = (Layout::new(&spec()).unwrap(), Decoder::new(&spec()).unwrap(), tokens(&ROWS));
        let flat = lively();
        let weights = Weights::new(&layout, &flat).unwrap().share(true).unwrap();
        let loss = decoder.loss(&weights, &tokens).unwrap().mean(Kind::Float);
        let mut gradient = vec![0.0; layout.len()];
        weights.gradient(&loss, &mut gradient).unwrap();
        // Along the gradient of each tensor the loss must rise by its squared norm, to first order.
        for slot in layout.tensors() {
            let part = &gradient[slot.range()];
            let squared: f64 = part.iter().map(|&g| f64::from(g).powi(2)).sum();
            assert!(squared > 1e-12, "{} has no gradient", slot.parameter.name);
            let step = 4e-3 / squared.sqrt();
            let moved = |sign: f64| {
                let mut flat = flat.clone();
                for (value, &g) in flat[slot.range()].iter_mut().zip(part) {
                    *value += (sign * step * f64::from(g)) as f32;
                }
                losses(&flat, &tokens).iter().map(|&loss| f64::from(loss)).sum::<f64>() / 2.0
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            // Rounding of the two losses bounds what the difference can show.
            let tolerance = 0.01 * squared + 2e-7 / step;
            assert!((slope - squared).abs() < tolerance, "{}: slope {slope}, expected {squared}", slot.parameter.name);
        }
    }

    #[test]
    fn what_the_model_cannot_read_is_an_error() {
        let weights = Weights::new(&Layout::new(&spec()).unwrap(), &lively()).unwrap();
        let decoder = Decoder::new(&spec()).unwrap();
        let too_long = Tensor::from_slice(&[0i64; 8]).view([1, 8]);
        assert!(matches!(decoder.loss(&weights, &too_long), Err(Error::Batch { context: 6, found: 8 })));
        assert!(matches!(decoder.loss(&weights, &tokens(&[[1; 7]]).narrow(1, 0, 1)), Err(Error::Batch { .. })));
        assert!(matches!(decoder.loss(&weights, &tokens(&[[13; 7]])), Err(Error::Torch(_))));
        assert!(matches!(Weights::new(&Layout::new(&spec()).unwrap(), &[0.0; 5]), Err(Error::Length { found: 5, .. })));
    }
}
