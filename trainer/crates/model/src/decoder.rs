// SPDX-License-Identifier: Apache-2.0

use crate::{
    Error, KvCache, Weights,
    attention::Attention,
    experts::{self, Routing},
    kv_cache::BlockCache,
    layers::{Block, Layers},
    linear::{Linear, NormLayer},
    mind::{
        RowCache, SecondPassTensors, amplitudes, introspect, introspection_objective, second_pass,
        superposition,
    },
    soft_cap::soft_cap,
};
use pol_primitives::model::{InvalidSpec, ModelSpec};
use tch::{Kind, Reduction, Tensor};

/// Forward pass of every decoder.
///
/// A decoder holds only the specification, so threads can share it. Attention is written out, as
/// the exact profile requires, unless [`with_fused_attention`](Self::with_fused_attention) is set.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    spec: ModelSpec,
    fused: bool,
}

/// Result of a forward pass with a loss.
#[derive(Debug)]
pub struct LossOutput {
    /// Mean cross-entropy of each sequence in nats per token, float32 `[batch]`.
    pub losses: Tensor,
    /// Training objective, a scalar: the mean of `losses` plus the auxiliary losses of the
    /// introspection head and the router.
    pub objective: Tensor,
    /// Routing of each block; empty for a model without experts.
    pub routing: Vec<Routing>,
}

/// Intermediate results of a forward pass.
#[derive(Default)]
struct ForwardTrace<'a> {
    /// Routing of each block in the first pass; empty without experts.
    routing: Vec<Routing>,
    /// Amplitude weights and input of each superposition.
    superpositions: Vec<(&'a Tensor, Tensor)>,
}

/// Block that the second pass runs again, with the keys and values of its first run.
struct FirstRun<'a, 'b> {
    index: u16,
    block: &'b Block<'a>,
    keys: Tensor,
    values: Tensor,
}

impl Decoder {
    /// Creates the decoder of `spec`.
    ///
    /// # Errors
    ///
    /// Fails if `spec` is invalid.
    pub fn new(spec: &ModelSpec) -> Result<Self, InvalidSpec> {
        spec.validate()?;
        Ok(Self { spec: *spec, fused: false })
    }

    /// Allows libtorch's fused attention kernel, off by default. The kernel is faster and needs
    /// less memory, but its bits differ between machines: never use it to train under the exact
    /// profile.
    #[must_use]
    pub fn with_fused_attention(mut self, fused: bool) -> Self {
        self.fused = fused;
        self
    }

    /// Returns the specification.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Computes the mean cross-entropy of each sequence in nats per token, float32 `[batch]`.
    ///
    /// Every token of `tokens` (int64 `[batch, length + 1]`, on the device of the weights) but the
    /// first is predicted from those before it.
    ///
    /// # Errors
    ///
    /// Fails if `weights` belong to another model, if the sequences are too short or longer than
    /// the context, or if a token is outside the vocabulary.
    pub fn loss(&self, weights: &Weights, tokens: &Tensor) -> Result<Tensor, Error> {
        Ok(self.forward_loss(weights, tokens)?.losses)
    }

    /// Computes the loss of `tokens`, as [`loss`](Self::loss) does, and the training objective.
    ///
    /// # Errors
    ///
    /// Fails if [`loss`](Self::loss) does.
    pub fn forward_loss(&self, weights: &Weights, tokens: &Tensor) -> Result<LossOutput, Error> {
        let (batch, longer) = tokens.size2()?;
        let length = longer - 1;
        let layers = Layers::new(&self.spec, weights)?;
        let mut trace = ForwardTrace::default();
        let inputs = tokens.f_narrow(1, 0, length.max(0))?;
        let hidden = self.forward(&layers, &inputs, None, Some(&mut trace))?;
        let targets = tokens.f_narrow(1, 1, length)?.f_reshape([-1])?;
        let token_losses = project_logits(&layers, &hidden)?.f_cross_entropy_loss(
            &targets,
            None::<Tensor>,
            Reduction::None,
            -100,
            0.0,
        )?;
        let losses =
            token_losses.f_view([batch, length])?.f_mean_dim([1].as_slice(), false, Kind::Float)?;
        let mut objective = losses.f_mean(Kind::Float)?;
        if let Some((weight, bias)) = layers.introspection {
            let predicted = introspect(weight, bias, &hidden)?;
            objective = objective.f_add(&introspection_objective(&predicted, &token_losses)?)?;
        }
        if let Some(experts) = &self.spec.experts {
            for routing in &trace.routing {
                objective = objective.f_add(&routing.objective(experts)?)?;
            }
        }
        Ok(LossOutput { losses, objective, routing: trace.routing })
    }

    /// Computes the logits of the next token, float32 `[batch · length, vocabulary]`, after each of
    /// `tokens` (int64 `[batch, length]`).
    ///
    /// # Errors
    ///
    /// Fails if `weights` belong to another model, if a sequence is empty or longer than the
    /// context, or if a token is outside the vocabulary.
    pub fn logits(&self, weights: &Weights, tokens: &Tensor) -> Result<Tensor, Error> {
        let layers = Layers::new(&self.spec, weights)?;
        project_logits(&layers, &self.forward(&layers, tokens, None, None)?)
    }

    /// Computes the final hidden states after the last norm, float32 `[batch, length, width]`, of
    /// `tokens` (int64 `[batch, length]`). [`lm_head`](Self::lm_head) maps them to logits.
    ///
    /// With a `cache`, `tokens` continue the cached ones and are added to the cache. No gradient
    /// flows through the cache.
    ///
    /// # Errors
    ///
    /// Fails if [`logits`](Self::logits) does or if the tokens do not fit in `cache`.
    pub fn hidden_states(
        &self,
        weights: &Weights,
        tokens: &Tensor,
        cache: Option<&mut KvCache>,
    ) -> Result<Tensor, Error> {
        let (batch, length) = tokens.size2()?;
        let layers = Layers::new(&self.spec, weights)?;
        let hidden = self.forward(&layers, tokens, cache, None)?;
        Ok(hidden.f_view([batch, length, self.spec.width.into()])?)
    }

    /// Maps `hidden` `[…, width]` from [`hidden_states`](Self::hidden_states) to logits of the next
    /// token, float32 `[…, vocabulary]`.
    ///
    /// # Errors
    ///
    /// Fails if `weights` belong to another model or `hidden` has another width.
    pub fn lm_head(&self, weights: &Weights, hidden: &Tensor) -> Result<Tensor, Error> {
        let layers = Layers::new(&self.spec, weights)?;
        let mut shape = hidden.size();
        let flat = project_logits(&layers, &hidden.f_reshape([-1, self.spec.width.into()])?)?;
        if let Some(last) = shape.last_mut() {
            *last = self.spec.vocabulary.into();
        }
        Ok(flat.f_view(shape.as_slice())?)
    }

    /// Predicts the loss in nats after each token, `[…]`, from `hidden` `[…, width]` of
    /// [`hidden_states`](Self::hidden_states). Returns `None` for a model without introspection.
    ///
    /// # Errors
    ///
    /// Fails if `weights` belong to another model or `hidden` has another width.
    pub fn introspect(&self, weights: &Weights, hidden: &Tensor) -> Result<Option<Tensor>, Error> {
        Layers::new(&self.spec, weights)?
            .introspection
            .map(|(weight, bias)| introspect(weight, bias, hidden))
            .transpose()
    }

    /// Computes the [amplitudes] of each block's superposition, `[batch · length, 2 · branches]`,
    /// for `tokens` (int64 `[batch, length]`). Returns an empty list for a model without
    /// superposition. [`coherence`](crate::mind::coherence) is computed from amplitudes.
    ///
    /// # Errors
    ///
    /// Fails if [`logits`](Self::logits) does.
    pub fn amplitudes(&self, weights: &Weights, tokens: &Tensor) -> Result<Vec<Tensor>, Error> {
        let mut trace = ForwardTrace::default();
        let layers = Layers::new(&self.spec, weights)?;
        let _ = self.forward(&layers, tokens, None, Some(&mut trace))?;
        trace.superpositions.iter().map(|(weight, x)| amplitudes(weight, x)).collect()
    }

    /// Computes the final hidden states of `tokens` after the last norm, `[batch · length, width]`.
    /// Records intermediate results in `trace`.
    fn forward<'a>(
        &self,
        layers: &Layers<'a>,
        tokens: &Tensor,
        mut cache: Option<&mut KvCache>,
        mut trace: Option<&mut ForwardTrace<'a>>,
    ) -> Result<Tensor, Error> {
        let (batch, length) = tokens.size2()?;
        let past = cache.as_ref().map_or(0, |cache| cache.len());
        let context = i64::from(self.spec.context);
        if length < 1 || past + length > context {
            return Err(Error::Batch { context, found: past + length + 1 });
        }
        if let Some(cache) = &mut cache {
            cache.prepare(layers.blocks.len(), batch, length)?;
        }
        let mut x = Tensor::f_embedding(layers.embedding, tokens, -1, false, false)?;
        if let Some(positions) = layers.positions {
            x = x.f_add(&positions.f_narrow(0, past, length)?)?;
        }
        x = x.f_view([batch * length, self.spec.width.into()])?;
        let attention =
            Attention::new(&self.spec, self.fused, batch, length, past, tokens.device())?;
        let mut first_runs = Vec::new();
        for (index, block) in (0..).zip(&layers.blocks) {
            let block_cache = cache.as_mut().and_then(|cache| cache.block(index.into()));
            let (output, keys, values) =
                self.run_block((index, block), &x, &attention, block_cache, trace.as_deref_mut())?;
            x = output;
            if index >= self.spec.layers - self.spec.mind.second_pass {
                first_runs.push(FirstRun { index, block, keys, values });
            }
        }
        let mut normed = layers.norm.apply(self.spec.norm, &x)?;
        if let Some(tensors) = &layers.second_pass {
            let rows = cache.as_mut().map(|cache| &mut cache.second_pass);
            let stream =
                self.run_second_pass(tensors, &first_runs, &x, &normed, &attention, rows)?;
            normed = layers.norm.apply(self.spec.norm, &stream)?;
        }
        if let Some(cache) = cache {
            cache.advance(length);
        }
        Ok(normed)
    }

    /// Runs a block on the residual stream `x` `[batch · length, width]`. Returns the stream after
    /// it, and the keys and values of all tokens.
    fn run_block<'a>(
        &self,
        (index, block): (u16, &Block<'a>),
        x: &Tensor,
        attention: &Attention,
        mut cache: Option<&mut BlockCache>,
        mut trace: Option<&mut ForwardTrace<'a>>,
    ) -> Result<(Tensor, Tensor, Tensor), Error> {
        let normed = self.norm_before(block, x)?;
        let [queries, mut keys, mut values] = attention.project(index, block, &normed)?;
        if let Some(cache) = &mut cache {
            (keys, values) = cache.extend(attention.past, &keys, &values)?;
        }
        let attended = attention.attend(index, &queries, &keys, &values)?;
        let routing = trace.as_mut().map(|trace| &mut trace.routing);
        let mut x = self.after_attention(block, x, &normed, &attended, routing)?;
        if let Some((sizes, tensors)) = self.spec.mind.superposition.zip(block.superposition) {
            if let Some(trace) = &mut trace {
                trace.superpositions.push((tensors.amplitudes, x.shallow_clone()));
            }
            let rows = cache.map(|cache| &mut cache.superposition);
            x = x.f_add(&superposition(sizes, &tensors, &x, attention.batch, rows)?)?;
        }
        Ok((x, keys, values))
    }

    /// Runs the last blocks again for the tokens selected by introspection. Only queries are
    /// recomputed. Keys and values stay those of the first pass, so that tokens can be left out.
    fn run_second_pass(
        &self,
        tensors: &SecondPassTensors<'_>,
        first_runs: &[FirstRun<'_, '_>],
        x: &Tensor,
        normed: &Tensor,
        attention: &Attention,
        rows: Option<&mut RowCache>,
    ) -> Result<Tensor, Error> {
        let run_again = || {
            first_runs.iter().try_fold(x.shallow_clone(), |x, run| {
                let normed = self.norm_before(run.block, &x)?;
                let queries = attention.project_queries(run.index, run.block, &normed)?;
                let attended = attention.attend(run.index, &queries, &run.keys, &run.values)?;
                self.after_attention(run.block, &x, &normed, &attended, None)
            })
        };
        second_pass(tensors, x, normed, attention.batch, rows, run_again)
    }

    /// Returns the input of the attention of `block`, which is `x` if no norm is before it.
    fn norm_before(&self, block: &Block<'_>, x: &Tensor) -> Result<Tensor, Error> {
        match &block.norm1 {
            Some(norm) => norm.apply(self.spec.norm, x),
            None => Ok(x.shallow_clone()),
        }
    }

    /// Computes the rest of `block` from its input `x`, the input of its attention and the output
    /// of attention.
    fn after_attention(
        &self,
        block: &Block<'_>,
        x: &Tensor,
        normed: &Tensor,
        attended: &Tensor,
        routing: Option<&mut Vec<Routing>>,
    ) -> Result<Tensor, Error> {
        let behind = |norm: &Option<NormLayer<'_>>, output: Tensor| match norm {
            Some(norm) => norm.apply(self.spec.norm, &output),
            None => Ok(output),
        };
        let sum = x.f_add(&behind(&block.behind1, block.out.apply(attended)?)?)?;
        // Parallel sublayers read the same stream.
        let stream = if self.spec.parallel { x } else { &sum };
        let second =
            block.norm2.as_ref().map(|norm| norm.apply(self.spec.norm, stream)).transpose()?;
        let first = if self.spec.parallel { normed } else { stream };
        let (layer, input) = (&block.feed_forward, second.as_ref().unwrap_or(first));
        let output = match self.spec.experts {
            Some(experts) => experts::feed_forward(&self.spec, experts, layer, input, routing)?,
            None => layer.apply_dense(&self.spec, input)?,
        };
        Ok(sum.f_add(&behind(&block.behind2, output)?)?)
    }
}

/// Maps `hidden` `[tokens, width]` to logits `[tokens, vocabulary]`.
fn project_logits(layers: &Layers<'_>, hidden: &Tensor) -> Result<Tensor, Error> {
    let head = Linear { weight: &layers.head.f_transpose(0, 1)?, bias: layers.head_bias };
    let logits = head.apply(hidden)?;
    layers.cap.map_or(Ok(logits.shallow_clone()), |cap| soft_cap(&logits, cap))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Layout,
        families::{families, large_parameters},
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
    fn an_untrained_model_predicts_uniformly() {
        for (name, spec) in families() {
            for loss in losses(&spec, &initial_parameters(&spec, &[1; 32]), &tokens(&ROWS)) {
                assert!((loss - 13f32.ln()).abs() < 0.05, "{name}: loss {loss}");
            }
        }
    }

    #[test]
    fn no_position_sees_the_future() {
        for (name, spec) in families() {
            let weights = weights(&spec, &large_parameters(&spec));
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
            let local =
                Some(pol_primitives::model::LocalAttention { window, period: 1, layers: 1 });
            ModelSpec { local, ..global }
        };
        let read = |spec: &ModelSpec, row: [i64; 6]| {
            let logits = Decoder::new(spec)
                .unwrap()
                .logits(&weights(spec, &large_parameters(spec)), &tokens(&[row]))
                .unwrap();
            Vec::<f32>::try_from(logits.narrow(0, 5, 1).reshape([-1])).unwrap()
        };
        let (row, other) = ([1, 2, 3, 4, 5, 6], [1, 2, 9, 4, 5, 6]);
        assert_eq!(read(&local(3), row), read(&local(3), other), "three tokens before the last");
        assert_ne!(read(&local(4), row), read(&local(4), other));
        assert_eq!(read(&local(6), row), read(&global, row));
    }

    #[test]
    fn fused_attention_and_a_cache_change_nothing() {
        for (name, spec) in families() {
            let (weights, tokens) =
                (weights(&spec, &large_parameters(&spec)), tokens(&ROWS).narrow(1, 0, 6));
            let plain = Decoder::new(&spec).unwrap();
            let expected = plain.hidden_states(&weights, &tokens, None).unwrap();
            for decoder in [plain, plain.with_fused_attention(true)] {
                let whole = decoder.hidden_states(&weights, &tokens, None).unwrap();
                assert!(largest_difference(&whole, &expected) < 1e-5, "{name}");
                for pieces in [vec![6], vec![1; 6], vec![3, 1, 2], vec![1, 4, 1]] {
                    let mut cache = KvCache::new(&spec, 2, 6, Device::Cpu).unwrap();
                    let parts: Vec<Tensor> = tokens
                        .split_with_sizes(pieces.as_slice(), 1)
                        .iter()
                        .map(|piece| {
                            decoder.hidden_states(&weights, piece, Some(&mut cache)).unwrap()
                        })
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
            let (weights, decoder) =
                (weights(&spec, &large_parameters(&spec)), Decoder::new(&spec).unwrap());
            let mut cache = KvCache::new(&spec, 2, 6, Device::Cpu).unwrap();
            let _ = decoder
                .hidden_states(&weights, &tokens(&ROWS).narrow(1, 0, 5), Some(&mut cache))
                .unwrap();
            // Rows 1, 0, 1, of which only the first two tokens are kept.
            cache.truncate(2);
            let mut branches = cache.select(&[1, 0, 1]).unwrap();
            assert_eq!(
                (branches.rows(), branches.len(), branches.capacity(), cache.rows()),
                (3, 2, 6, 2)
            );
            let found = decoder
                .hidden_states(&weights, &tokens(&[[7, 8], [9, 10], [11, 2]]), Some(&mut branches))
                .unwrap();
            let whole = tokens(&[[12, 0, 7, 8], [1, 2, 9, 10], [12, 0, 11, 2]]);
            let expected = decoder.hidden_states(&weights, &whole, None).unwrap().narrow(1, 2, 2);
            assert!(largest_difference(&found, &expected) < 1e-5, "{name}");
            // The first cache is as it was.
            let found =
                decoder.hidden_states(&weights, &tokens(&[[3], [4]]), Some(&mut cache)).unwrap();
            let expected = decoder
                .hidden_states(&weights, &tokens(&[[1, 2, 3], [12, 0, 4]]), None)
                .unwrap()
                .narrow(1, 2, 1);
            assert!(largest_difference(&found, &expected) < 1e-5, "{name}");
        }
    }

    #[test]
    fn a_cache_that_does_not_fit_is_refused() {
        let (weights, decoder) =
            (weights(&spec(), &large_parameters(&spec())), Decoder::new(&spec()).unwrap());
        for (rows, capacity) in [(0, 1), (1, 0), (1, 7)] {
            assert!(matches!(
                KvCache::new(&spec(), rows, capacity, Device::Cpu),
                Err(Error::CacheCapacity { .. })
            ));
        }
        let mut cache = KvCache::new(&spec(), 1, 4, Device::Cpu).unwrap();
        assert!(matches!(
            decoder.hidden_states(&weights, &tokens(&[[1], [2]]), Some(&mut cache)),
            Err(Error::CacheCapacity { rows: 2, .. })
        ));
        let long = decoder.hidden_states(&weights, &tokens(&[[1; 5]]), Some(&mut cache));
        assert!(matches!(long, Err(Error::CacheCapacity { needed: 5, capacity: 4, rows: 1 })));
        assert!(matches!(cache.select(&[1]), Err(Error::CacheCapacity { .. })));
        let two = KvCache::new(&spec(), 2, 4, Device::Cpu).unwrap();
        assert!(matches!(cache.copy_from(&two), Err(Error::CacheCapacity { rows: 2, .. })));
        let other = Decoder::new(&ModelSpec { layers: 1, ..spec() }).unwrap();
        let fewer = self::weights(other.spec(), &large_parameters(other.spec()));
        assert!(matches!(
            other.hidden_states(&fewer, &tokens(&[[1]]), Some(&mut cache)),
            Err(Error::CacheCapacity { .. })
        ));
        assert!(cache.is_empty());
    }

    #[test]
    fn sequences_of_a_batch_do_not_mix() {
        for (name, spec) in families() {
            let both = losses(&spec, &large_parameters(&spec), &tokens(&ROWS));
            let alone = losses(&spec, &large_parameters(&spec), &tokens(&ROWS[1..]));
            assert!((both[1] - alone[0]).abs() < 1e-5, "{name}");
            assert!((both[0] - both[1]).abs() > 1e-3, "{name}");
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        for (name, spec) in families() {
            let (layout, decoder, tokens) =
                (Layout::new(&spec).unwrap(), Decoder::new(&spec).unwrap(), tokens(&ROWS));
            let flat = large_parameters(&spec);
            let weights = Weights::new(&layout, &flat).unwrap().share(true).unwrap();
            let loss = decoder.forward_loss(&weights, &tokens).unwrap().objective;
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
                let slope = |part: f64| (moved(part) - moved(-part)) / (2.0 * step * part);
                // The curvature's share of the error is four times as large at twice the step.
                let slope = (4.0 * slope(0.5) - slope(1.0)) / 3.0;
                // Rounding of the losses bounds what the differences can show.
                let tolerance = 0.01 * squared + 6e-7 / step;
                assert!(
                    (slope - squared).abs() < tolerance,
                    "{name}: {}: {slope}, expected {squared}",
                    slot.parameter.name
                );
            }
        }
    }

    #[test]
    fn unused_tensors_have_no_gradient() {
        let spec = ModelSpec {
            mind: pol_primitives::model::Mind { introspection: true, ..spec().mind },
            ..spec()
        };
        let layout = Layout::new(&spec).unwrap();
        let weights = weights(&spec, &large_parameters(&spec)).share(true).unwrap();
        let loss =
            Decoder::new(&spec).unwrap().loss(&weights, &tokens(&ROWS)).unwrap().mean(Kind::Float);
        let mut gradient = vec![1.0; layout.len()];
        weights.gradient(&loss, &mut gradient).unwrap();
        assert_eq!(gradient[layout.len() - 9..], [0.0; 9]);
        assert!(gradient[..8].iter().any(|&value| value != 0.0));
    }

    #[test]
    fn invalid_batches_are_refused() {
        let (layout, weights) =
            (Layout::new(&spec()).unwrap(), weights(&spec(), &large_parameters(&spec())));
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
            let error = other.loss(&weights, &tokens(&ROWS)).unwrap_err();
            assert!(matches!(error, Error::Length { found: of, .. } if of == found));
        }
    }
}
