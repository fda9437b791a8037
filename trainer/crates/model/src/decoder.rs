use crate::{
    Cache, Error, Weights,
    attention::Attention,
    experts::{self, Routing},
    mind::{amplitudes, introspect, introspection_objective, second_pass, superposition},
    parts::{Block, Parts, Projection},
};
use pol_primitives::model::{InvalidSpec, ModelSpec};
use tch::{Kind, Reduction, Tensor};

/// The forward pass of every decoder; holds the specification only, so threads can share it.
///
/// Attention is written out, as the exact profile needs, unless
/// [`with_fused_attention`](Self::with_fused_attention) allows more.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    spec: ModelSpec,
    fused: bool,
}

impl Decoder {
    /// The decoder that `spec` describes.
    pub fn new(spec: &ModelSpec) -> Result<Self, InvalidSpec> {
        spec.validate()?;
        Ok(Self { spec: *spec, fused: false })
    }

    /// Whether attention may be computed by libtorch's fused kernel: faster and in less memory, but
    /// with other bits on other machines. Off at first; never for training under the exact profile.
    #[must_use]
    pub fn with_fused_attention(mut self, fused: bool) -> Self {
        self.fused = fused;
        self
    }

    /// The specification.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Mean cross-entropy of each sequence in nats per token, float32 `[batch]`, of predicting
    /// every token of `tokens` (int64 `[batch, length + 1]`, on the device of the weights) but the
    /// first from those before it.
    pub fn loss(&self, weights: &Weights, tokens: &Tensor) -> Result<Tensor, Error> {
        Ok(self.outcome(weights, tokens)?.losses)
    }

    /// What predicting every token of `tokens` (int64 `[batch, length + 1]`) but the first from
    /// those before it comes to.
    pub fn outcome(&self, weights: &Weights, tokens: &Tensor) -> Result<Outcome, Error> {
        let (batch, longer) = tokens.size2()?;
        let length = longer - 1;
        let parts = Parts::of(&self.spec, weights)?;
        let mut seen = Seen::default();
        let hidden =
            self.read(&parts, &tokens.f_narrow(1, 0, length.max(0))?, None, Some(&mut seen))?;
        let targets = tokens.f_narrow(1, 1, length)?.f_reshape([-1])?;
        let losses = scores(&parts, &hidden)?.f_cross_entropy_loss(
            &targets,
            None::<Tensor>,
            Reduction::None,
            -100,
            0.0,
        )?;
        let each =
            losses.f_view([batch, length])?.f_mean_dim([1].as_slice(), false, Kind::Float)?;
        let mut objective = each.f_mean(Kind::Float)?;
        if let Some((weight, bias)) = parts.introspection {
            objective = objective
                .f_add(&introspection_objective(&introspect(weight, bias, &hidden)?, &losses)?)?;
        }
        if let Some(experts) = &self.spec.experts {
            for routing in &seen.routing {
                objective = objective.f_add(&routing.objective(experts)?)?;
            }
        }
        Ok(Outcome { losses: each, objective, routing: seen.routing })
    }

    /// Scores of every next token, float32 `[batch · length, vocabulary]`, after each of `tokens`
    /// (int64 `[batch, length]`).
    pub fn logits(&self, weights: &Weights, tokens: &Tensor) -> Result<Tensor, Error> {
        let parts = Parts::of(&self.spec, weights)?;
        scores(&parts, &self.read(&parts, tokens, None, None)?)
    }

    /// What the last block makes of each of `tokens` (int64 `[batch, length]`), normed: float32
    /// `[batch, length, width]`, which [`head`](Self::head) turns into scores of the next token.
    ///
    /// With a `cache`, tokens follow those that it holds, and it holds them too afterwards; no
    /// gradient flows through it.
    pub fn hidden(
        &self,
        weights: &Weights,
        tokens: &Tensor,
        cache: Option<&mut Cache>,
    ) -> Result<Tensor, Error> {
        let (batch, length) = tokens.size2()?;
        let parts = Parts::of(&self.spec, weights)?;
        Ok(self.read(&parts, tokens, cache, None)?.f_view([
            batch,
            length,
            self.spec.width.into(),
        ])?)
    }

    /// Scores of the next token, float32 `[…, vocabulary]`, for what [`hidden`](Self::hidden) gave,
    /// `[…, width]`.
    pub fn head(&self, weights: &Weights, hidden: &Tensor) -> Result<Tensor, Error> {
        let parts = Parts::of(&self.spec, weights)?;
        let mut shape = hidden.size();
        let flat = scores(&parts, &hidden.f_reshape([-1, self.spec.width.into()])?)?;
        if let Some(last) = shape.last_mut() {
            *last = self.spec.vocabulary.into();
        }
        Ok(flat.f_view(shape.as_slice())?)
    }

    /// The loss in nats that introspection expects after each token, `[…]`, for what
    /// [`hidden`](Self::hidden) gave, `[…, width]`; None for a model without it.
    pub fn introspect(&self, weights: &Weights, hidden: &Tensor) -> Result<Option<Tensor>, Error> {
        Parts::of(&self.spec, weights)?
            .introspection
            .map(|(weight, bias)| introspect(weight, bias, hidden))
            .transpose()
    }

    /// The [amplitudes] of each block's superposition, `[batch · length, 2 · branches]`, while the
    /// model reads `tokens` (int64 `[batch, length]`), of which
    /// [`coherence`](crate::mind::coherence) is computed. Empty for a model without.
    pub fn amplitudes(&self, weights: &Weights, tokens: &Tensor) -> Result<Vec<Tensor>, Error> {
        let mut seen = Seen::default();
        let _ = self.read(&Parts::of(&self.spec, weights)?, tokens, None, Some(&mut seen))?;
        seen.superposed.iter().map(|(weight, x)| amplitudes(weight, x)).collect()
    }

    /// What the last block makes of `tokens`, normed: `[batch · length, width]`. Puts what happened
    /// on the way into `seen`.
    fn read<'a>(
        &self,
        parts: &Parts<'a>,
        tokens: &Tensor,
        mut cache: Option<&mut Cache>,
        mut seen: Option<&mut Seen<'a>>,
    ) -> Result<Tensor, Error> {
        let (batch, length) = tokens.size2()?;
        let past = cache.as_ref().map_or(0, |cache| cache.len());
        let context = i64::from(self.spec.context);
        if length < 1 || past + length > context {
            return Err(Error::Batch { context, found: past + length + 1 });
        }
        if let Some(cache) = &mut cache {
            cache.prepare(parts.blocks.len(), batch, length)?;
        }
        let mut x = Tensor::f_embedding(parts.embedding, tokens, -1, false, false)?;
        if let Some(positions) = parts.positions {
            x = x.f_add(&positions.f_narrow(0, past, length)?)?;
        }
        x = x.f_view([batch * length, self.spec.width.into()])?;
        let attention =
            Attention::new(&self.spec, self.fused, batch, length, past, tokens.device())?;
        // Blocks that may run again, with the keys and values of their first run.
        let mut last = Vec::new();
        for (index, block) in (0..).zip(&parts.blocks) {
            let normed = block.norm1.apply(self.spec.norm, &x)?;
            let [queries, mut keys, mut values] =
                attention.project(&block.query_key_value, &normed)?;
            let mut layer = cache.as_mut().and_then(|cache| cache.layer(index.into()));
            if let Some(layer) = &mut layer {
                (keys, values) = layer.extend(past, &keys, &values)?;
            }
            let routing = seen.as_mut().map(|seen| &mut seen.routing);
            x = self.after_attention(
                block,
                &x,
                &normed,
                &attention.mix(index, &queries, &keys, &values)?,
                routing,
            )?;
            if let Some((sizes, part)) = self.spec.mind.superposition.zip(block.superposition) {
                if let Some(seen) = &mut seen {
                    seen.superposed.push((part.amplitudes, x.shallow_clone()));
                }
                x = x.f_add(&superposition(
                    sizes,
                    &part,
                    &x,
                    batch,
                    layer.map(|layer| &mut layer.memory),
                )?)?;
            }
            if index >= self.spec.layers - self.spec.mind.second_pass {
                last.push((index, block, keys, values));
            }
        }
        let mut normed = parts.norm.apply(self.spec.norm, &x)?;
        if let Some(part) = &parts.second_pass {
            // Only queries are new: keys and values stay those of the first pass, so that tokens
            // can be left out.
            let again = || {
                last.iter().try_fold(x.shallow_clone(), |x, (index, block, keys, values)| {
                    let normed = block.norm1.apply(self.spec.norm, &x)?;
                    let queries = attention.queries(&block.query_key_value, &normed)?;
                    self.after_attention(
                        block,
                        &x,
                        &normed,
                        &attention.mix(*index, &queries, keys, values)?,
                        None,
                    )
                })
            };
            let memory = cache.as_mut().map(|cache| &mut cache.thoughts);
            normed = parts
                .norm
                .apply(self.spec.norm, &second_pass(part, &x, &normed, batch, memory, again)?)?;
        }
        if let Some(cache) = cache {
            cache.advance(length);
        }
        Ok(normed)
    }

    /// The rest of `block` for `x`, its norm and what its attention found.
    fn after_attention(
        &self,
        block: &Block<'_>,
        x: &Tensor,
        normed: &Tensor,
        found: &Tensor,
        routing: Option<&mut Vec<Routing>>,
    ) -> Result<Tensor, Error> {
        let x = x.f_add(&block.out.apply(found)?)?;
        let again = block.norm2.as_ref().map(|norm| norm.apply(self.spec.norm, &x)).transpose()?;
        let (part, normed) = (&block.feed_forward, again.as_ref().unwrap_or(normed));
        let fed = match self.spec.experts {
            Some(experts) => experts::feed_forward(&self.spec, experts, part, normed, routing)?,
            None => part.dense(&self.spec, normed)?,
        };
        Ok(x.f_add(&fed)?)
    }
}

/// What happened while a model read.
#[derive(Default)]
struct Seen<'a> {
    /// What the router of each block decided in the first pass; empty without experts.
    routing: Vec<Routing>,
    /// Weights of the amplitudes of each block that has a superposition, and the stream that it
    /// read.
    superposed: Vec<(&'a Tensor, Tensor)>,
}

/// What a model made of a batch.
#[derive(Debug)]
pub struct Outcome {
    /// Mean cross-entropy of each sequence in nats per token, float32 `[batch]`.
    pub losses: Tensor,
    /// What training makes small, a scalar: the mean of `losses`, and what the parts beside the
    /// decoder add to train themselves.
    pub objective: Tensor,
    /// What the router of each block decided; empty for a model without experts.
    pub routing: Vec<Routing>,
}

/// Scores of the next token for `hidden` `[tokens, width]`: `[tokens, vocabulary]`.
fn scores(parts: &Parts<'_>, hidden: &Tensor) -> Result<Tensor, Error> {
    Projection { weight: &parts.head.f_transpose(0, 1)?, bias: parts.head_bias }.apply(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Layout,
        families::{families, lively},
        initial_parameters,
    };
    use tch::Device;

    const ROWS: [[i64; 7]; 2] = [[1, 2, 3, 4, 5, 6, 7], [12, 0, 12, 3, 3, 9, 1]];

    fn spec() -> ModelSpec {
        families()[0].1
    }

    fn tokens<const N: usize>(rows: &[[i64; N]]) -> Tensor {
        Tensor::from_slice(rows.as_flattened()).view([rows.len() as i64, N as i64])
    }

    fn weights(spec: &ModelSpec, flat: &[f32]) -> Weights {
        Weights::new(&Layout::new(spec).unwrap(), flat).unwrap()
    }

    fn losses(spec: &ModelSpec, flat: &[f32], tokens: &Tensor) -> Vec<f32> {
        Vec::try_from(Decoder::new(spec).unwrap().loss(&weights(spec, flat), tokens).unwrap())
            .unwrap()
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn a_fresh_model_knows_nothing() {
        for (name, spec) in families() {
            for loss in losses(&spec, &initial_parameters(&spec, &[1; 32]), &tokens(&ROWS)) {
                assert!((loss - 13f32.ln()).abs() < 0.05, "{name}: loss {loss}");
            }
        }
    }

    #[test]
    fn no_position_sees_the_future() {
        for (name, spec) in families() {
            let weights = weights(&spec, &lively(&spec));
            let logits = |rows: &[i64; 6]| {
                let logits =
                    Decoder::new(&spec).unwrap().logits(&weights, &tokens(&[*rows])).unwrap();
                Vec::<f32>::try_from(logits.reshape([-1])).unwrap()
            };
            let (first, second) = (logits(&[1, 2, 3, 4, 5, 6]), logits(&[1, 2, 3, 9, 0, 11]));
            assert_eq!(first[..3 * 13], second[..3 * 13], "{name}");
            assert_ne!(first[3 * 13..4 * 13], second[3 * 13..4 * 13], "{name}");
        }
    }

    #[test]
    fn local_attention_sees_its_window() {
        let global = ModelSpec { layers: 1, biases: Default::default(), ..spec() };
        let local = |window| {
            let local = Some(pol_primitives::model::Local { window, period: 1, layers: 1 });
            ModelSpec { local, ..global }
        };
        let read = |spec: &ModelSpec, row: [i64; 6]| {
            let logits = Decoder::new(spec)
                .unwrap()
                .logits(&weights(spec, &lively(spec)), &tokens(&[row]))
                .unwrap();
            Vec::<f32>::try_from(logits.narrow(0, 5, 1).reshape([-1])).unwrap()
        };
        let (row, other) = ([1, 2, 3, 4, 5, 6], [1, 2, 9, 4, 5, 6]);
        assert_eq!(read(&local(3), row), read(&local(3), other), "three tokens before the last");
        assert_ne!(read(&local(4), row), read(&local(4), other));
        assert_eq!(read(&local(6), row), read(&global, row));
    }

    #[test]
    fn fused_attention_and_a_cache_read_alike() {
        for (name, spec) in families() {
            let (weights, tokens) = (weights(&spec, &lively(&spec)), tokens(&ROWS).narrow(1, 0, 6));
            let plain = Decoder::new(&spec).unwrap();
            let expected = plain.hidden(&weights, &tokens, None).unwrap();
            for decoder in [plain, plain.with_fused_attention(true)] {
                let whole = decoder.hidden(&weights, &tokens, None).unwrap();
                assert!(largest_difference(&whole, &expected) < 1e-5, "{name}");
                for pieces in [vec![6], vec![1; 6], vec![3, 1, 2], vec![1, 4, 1]] {
                    let mut cache = Cache::new(&spec, 2, 6, Device::Cpu).unwrap();
                    let parts: Vec<Tensor> = tokens
                        .split_with_sizes(pieces.as_slice(), 1)
                        .iter()
                        .map(|piece| decoder.hidden(&weights, piece, Some(&mut cache)).unwrap())
                        .collect();
                    assert!(
                        largest_difference(&Tensor::cat(&parts, 1), &expected) < 1e-5,
                        "{name} in {pieces:?}"
                    );
                    assert_eq!(cache.len(), 6);
                }
            }
        }
    }

    #[test]
    fn a_cache_goes_back_and_branches() {
        for (name, spec) in families() {
            let (weights, decoder) = (weights(&spec, &lively(&spec)), Decoder::new(&spec).unwrap());
            let mut cache = Cache::new(&spec, 2, 6, Device::Cpu).unwrap();
            let _ =
                decoder.hidden(&weights, &tokens(&ROWS).narrow(1, 0, 5), Some(&mut cache)).unwrap();
            // Rows 1, 0, 1, of which only the first two tokens are kept.
            cache.truncate(2);
            let mut branches = cache.select(&[1, 0, 1]).unwrap();
            assert_eq!(
                (branches.rows(), branches.len(), branches.capacity(), cache.rows()),
                (3, 2, 6, 2)
            );
            let found = decoder
                .hidden(&weights, &tokens(&[[7, 8], [9, 10], [11, 2]]), Some(&mut branches))
                .unwrap();
            let whole = tokens(&[[12, 0, 7, 8], [1, 2, 9, 10], [12, 0, 11, 2]]);
            let expected = decoder.hidden(&weights, &whole, None).unwrap().narrow(1, 2, 2);
            assert!(largest_difference(&found, &expected) < 1e-5, "{name}");
            // The first cache is as it was.
            let found = decoder.hidden(&weights, &tokens(&[[3], [4]]), Some(&mut cache)).unwrap();
            let expected = decoder
                .hidden(&weights, &tokens(&[[1, 2, 3], [12, 0, 4]]), None)
                .unwrap()
                .narrow(1, 2, 1);
            assert!(largest_difference(&found, &expected) < 1e-5, "{name}");
        }
    }

    #[test]
    fn a_cache_that_does_not_fit_is_refused() {
        let (weights, decoder) =
            (weights(&spec(), &lively(&spec())), Decoder::new(&spec()).unwrap());
        for (rows, capacity) in [(0, 1), (1, 0), (1, 7)] {
            assert!(matches!(
                Cache::new(&spec(), rows, capacity, Device::Cpu),
                Err(Error::Cache { .. })
            ));
        }
        let mut cache = Cache::new(&spec(), 1, 4, Device::Cpu).unwrap();
        assert!(matches!(
            decoder.hidden(&weights, &tokens(&[[1], [2]]), Some(&mut cache)),
            Err(Error::Cache { rows: 2, .. })
        ));
        let long = decoder.hidden(&weights, &tokens(&[[1; 5]]), Some(&mut cache));
        assert!(matches!(long, Err(Error::Cache { needed: 5, capacity: 4, rows: 1 })));
        assert!(matches!(cache.select(&[1]), Err(Error::Cache { .. })));
        let other = Decoder::new(&ModelSpec { layers: 1, ..spec() }).unwrap();
        let fewer = self::weights(other.spec(), &lively(other.spec()));
        assert!(matches!(
            other.hidden(&fewer, &tokens(&[[1]]), Some(&mut cache)),
            Err(Error::Cache { .. })
        ));
        assert!(cache.is_empty());
    }

    #[test]
    fn sequences_of_a_batch_do_not_mix() {
        for (name, spec) in families() {
            let both = losses(&spec, &lively(&spec), &tokens(&ROWS));
            let alone = losses(&spec, &lively(&spec), &tokens(&ROWS[1..]));
            assert!((both[1] - alone[0]).abs() < 1e-5, "{name}");
            assert!((both[0] - both[1]).abs() > 1e-3, "{name}");
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        for (name, spec) in families() {
            let (layout, decoder, tokens) =
                (Layout::new(&spec).unwrap(), Decoder::new(&spec).unwrap(), tokens(&ROWS));
            let flat = lively(&spec);
            let weights = Weights::new(&layout, &flat).unwrap().share(true).unwrap();
            let loss = decoder.outcome(&weights, &tokens).unwrap().objective;
            let mut gradient = vec![0.0; layout.len()];
            weights.gradient(&loss, &mut gradient).unwrap();
            // Along the gradient of each tensor the loss must rise by its squared norm, to first
            // order.
            for slot in layout.tensors() {
                let part = &gradient[slot.range()];
                let squared: f64 = part.iter().map(|&g| f64::from(g).powi(2)).sum();
                assert!(squared > 1e-12, "{name}: {} has no gradient", slot.parameter.name);
                let step = 4e-3 / squared.sqrt();
                let moved = |sign: f64| {
                    let mut flat = flat.clone();
                    for (value, &g) in flat[slot.range()].iter_mut().zip(part) {
                        *value += (sign * step * f64::from(g)) as f32;
                    }
                    losses(&spec, &flat, &tokens).iter().map(|&loss| f64::from(loss)).sum::<f64>()
                        / 2.0
                };
                let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
                // Rounding of the two losses bounds what the difference can show.
                let tolerance = 0.01 * squared + 2e-7 / step;
                assert!(
                    (slope - squared).abs() < tolerance,
                    "{name}: {}: {slope}, expected {squared}",
                    slot.parameter.name
                );
            }
        }
    }

    #[test]
    fn what_no_loss_depends_on_has_no_gradient() {
        let spec = ModelSpec {
            mind: pol_primitives::model::Mind { introspection: true, ..spec().mind },
            ..spec()
        };
        let layout = Layout::new(&spec).unwrap();
        let weights = weights(&spec, &lively(&spec)).share(true).unwrap();
        let loss =
            Decoder::new(&spec).unwrap().loss(&weights, &tokens(&ROWS)).unwrap().mean(Kind::Float);
        let mut gradient = vec![1.0; layout.len()];
        weights.gradient(&loss, &mut gradient).unwrap();
        assert_eq!(gradient[layout.len() - 9..], [0.0; 9]);
        assert!(gradient[..8].iter().any(|&value| value != 0.0));
    }

    #[test]
    fn what_the_model_cannot_read_is_an_error() {
        let (layout, weights) = (Layout::new(&spec()).unwrap(), weights(&spec(), &lively(&spec())));
        let decoder = Decoder::new(&spec()).unwrap();
        assert!(matches!(
            decoder.loss(&weights, &tokens(&[[0; 8]])),
            Err(Error::Batch { context: 6, found: 8 })
        ));
        assert!(matches!(decoder.loss(&weights, &tokens(&[[1; 1]])), Err(Error::Batch { .. })));
        assert!(matches!(decoder.loss(&weights, &tokens(&[[13; 7]])), Err(Error::Torch(_))));
        assert!(matches!(Weights::new(&layout, &[0.0; 5]), Err(Error::Length { found: 5, .. })));
        for layers in [1, 3] {
            let other = Decoder::new(&ModelSpec { layers, ..spec() }).unwrap();
            let found = layout.len();
            assert!(
                matches!(other.loss(&weights, &tokens(&ROWS)), Err(Error::Length { found: of, .. }) if of == found)
            );
        }
    }
}
