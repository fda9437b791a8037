// SPDX-License-Identifier: Apache-2.0

//! Inference on CPUs without libtorch. For a single row the time goes into reading the parameters
//! from memory once.

mod huge_pages;
mod kernels;
mod matrix;

use crate::{
    Error,
    language_model::{LanguageModel, SequenceCache, SequenceInput, check},
};
use kernels::{Isa, activate, attend};
use matrix::{ConcatColumns, Matrix, Scratch, Transposed, for_rows};
use pol_model::{Layout, RotaryRates};
use pol_primitives::model::{ModelSpec, Norm, PositionEncoding};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Tokens that are processed at once. A longer prompt is processed in chunks.
const PROMPT_CHUNK_TOKENS: usize = 512;
/// Multiplications of an attention from which other threads help.
const WORTH_SHARING: usize = 1 << 16;

/// Language model with packed parameters for inference on CPUs.
///
/// Parameters of a lower precision than float32 are stored in that precision, which loses nothing
/// and is several times faster. Results have the same bits for any number of threads, any batch,
/// and any division of a sequence.
pub struct NativeModel {
    spec: ModelSpec,
    isa: Isa,
    pool: rayon::ThreadPool,
    embedding: Vec<f32>,
    positions: Vec<f32>,
    /// Angular rates in radians per token, one for each pair of dimensions.
    rates: RotaryRates,
    blocks: Vec<Block>,
    norm: Normed,
    head: Matrix,
    introspection: Option<(Vec<f32>, f32)>,
    memory: Mutex<Workspace>,
}

struct Block {
    norm1: Normed,
    query_key_value: Matrix,
    out: Matrix,
    norm2: Option<Normed>,
    /// Outputs of the gate, if any, then those that it gates.
    up: Matrix,
    down: Matrix,
}

impl Block {
    fn new(
        spec: &ModelSpec,
        tensors: &NamedTensors<'_>,
        index: u16,
    ) -> Result<Self, pol_model::Error> {
        let name = |part: &str| format!("h.{index}.{part}");
        let (width, heads) = (spec.width as usize, spec.attention_width() as usize);
        let inputs = if spec.gated {
            vec![name("mlp.c_gate"), name("mlp.c_fc")]
        } else {
            vec![name("mlp.c_fc")]
        };
        Ok(Self {
            norm1: Normed::new(tensors, &name("ln_1"))?,
            query_key_value: tensors.matrix(&[name("attn.c_attn")], width)?,
            out: tensors.matrix(&[name("attn.c_proj")], heads)?,
            norm2: match spec.parallel {
                true => None,
                false => Some(Normed::new(tensors, &name("ln_2"))?),
            },
            up: tensors.matrix(&inputs, width)?,
            down: tensors.matrix(&[name("mlp.c_proj")], spec.feed_forward as usize)?,
        })
    }
}

/// Tensors of a parameter vector, by name.
struct NamedTensors<'a> {
    layout: &'a Layout,
    flat: &'a [f32],
}

impl<'a> NamedTensors<'a> {
    fn find(&self, name: &str) -> Option<&'a [f32]> {
        let slot = self.layout.tensors().iter().find(|slot| slot.parameter.name == name)?;
        self.flat.get(slot.range())
    }

    fn get(&self, name: &str) -> Result<&'a [f32], pol_model::Error> {
        let (expected, found) = (self.layout.len(), self.flat.len());
        self.find(name).ok_or(pol_model::Error::Length { expected, found })
    }

    /// Returns a copy of a tensor; empty if the model lacks it.
    fn optional(&self, name: &str) -> Vec<f32> {
        self.find(name).unwrap_or_default().to_vec()
    }

    /// Packs matrices with the same inputs as one, with their biases.
    fn matrix(&self, names: &[String], inputs: usize) -> Result<Matrix, pol_model::Error> {
        let parts = names
            .iter()
            .map(|name| self.get(&format!("{name}.weight")))
            .collect::<Result<_, _>>()?;
        let bias = names.iter().flat_map(|name| self.optional(&format!("{name}.bias"))).collect();
        Ok(Matrix::new(&ConcatColumns { parts, inputs }, bias))
    }
}

/// Weight, and the bias of a LayerNorm.
struct Normed {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Keys and values of a sequence, by block and head, each `[capacity, head size]`.
pub struct NativeCache {
    layers: Vec<KeysValues>,
    len: usize,
    capacity: usize,
}

#[derive(Clone)]
struct KeysValues {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// One token to process, with its input and position.
#[derive(Clone, Copy)]
struct TokenRow {
    input: usize,
    token: u32,
    place: usize,
}

/// Reusable memory.
#[derive(Default)]
struct Workspace {
    x: Vec<f32>,
    normed: Vec<f32>,
    projected: Vec<f32>,
    mixed: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
    hidden: Vec<f32>,
    added: Vec<f32>,
    last: Vec<f32>,
    logits: Vec<f32>,
    rotations: Vec<(f32, f32)>,
    scratch: Scratch,
}

impl NativeModel {
    /// Returns `true` if this processor and this decoder support models of `spec`.
    pub fn supports(spec: &ModelSpec) -> bool {
        Isa::detect().is_some()
            && spec.experts.is_none()
            && spec.mind.superposition.is_none()
            && spec.mind.second_pass == 0
    }

    /// Creates a model of `spec` from parameters in canonical order, with `threads` threads.
    ///
    /// # Errors
    ///
    /// Fails if the specification is invalid or unsupported, if `flat` has another length, or if
    /// threads cannot be started.
    pub fn new(spec: &ModelSpec, flat: &[f32], threads: usize) -> Result<Self, Error> {
        let layout = Layout::new(spec).map_err(pol_model::Error::from)?;
        if flat.len() != layout.len() {
            return Err(
                pol_model::Error::Length { expected: layout.len(), found: flat.len() }.into()
            );
        }
        let isa = Isa::detect().filter(|_| Self::supports(spec)).ok_or(Error::Unsupported)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Error::Threads(error.to_string()))?;
        let tensors = NamedTensors { layout: &layout, flat };
        let embedding = tensors.get("wte.weight")?;
        let head = Transposed {
            values: if spec.tied { embedding } else { tensors.get("lm_head.weight")? },
            inputs: spec.width as usize,
        };
        let blocks = (0..spec.layers)
            .map(|index| pool.install(|| Block::new(spec, &tensors, index)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            spec: *spec,
            isa,
            positions: tensors.optional("wpe.weight"),
            rates: spec.rotation(0).map(|rotation| RotaryRates::new(&rotation)).unwrap_or_default(),
            blocks,
            norm: Normed::new(&tensors, "ln_f")?,
            head: pool.install(|| Matrix::new(&head, tensors.optional("lm_head.bias"))),
            introspection: match spec.mind.introspection {
                true => Some((
                    tensors.get("mind.introspection.weight")?.to_vec(),
                    tensors.get("mind.introspection.bias")?[0],
                )),
                false => None,
            },
            embedding: embedding.to_vec(),
            pool,
            memory: Mutex::default(),
        })
    }

    /// Returns the number of bytes of parameters that a single token reads from memory.
    pub fn bytes_per_token(&self) -> usize {
        let blocks: usize = self
            .blocks
            .iter()
            .flat_map(|b| [&b.query_key_value, &b.out, &b.up, &b.down])
            .map(Matrix::bytes)
            .sum();
        blocks + self.head.bytes()
    }

    fn read_rows(
        &self,
        rows: &[TokenRow],
        inputs: &mut [SequenceInput<'_, NativeCache>],
        memory: &mut Workspace,
    ) {
        let Workspace {
            x,
            normed,
            projected,
            mixed,
            attended,
            inner,
            hidden,
            added,
            last,
            rotations,
            scratch,
            ..
        } = memory;
        let (spec, isa, count) = (&self.spec, self.isa, rows.len());
        let width = spec.width as usize;
        x.clear();
        for row in rows {
            let embedded = &self.embedding[row.token as usize * width..][..width];
            match self.positions.get(row.place * width..(row.place + 1) * width) {
                Some(place) => x.extend(embedded.iter().zip(place).map(|(a, b)| a + b)),
                None => x.extend_from_slice(embedded),
            }
        }
        rotations.clear();
        rotations.extend(rows.iter().flat_map(|row| self.rates.at(row.place)));
        projected.resize(count * spec.query_key_value_width() as usize, 0.0);
        mixed.resize(count * spec.attention_width() as usize, 0.0);
        attended.resize(count * width, 0.0);
        added.resize(count * width, 0.0);
        for (index, block) in self.blocks.iter().enumerate() {
            block.norm1.apply(spec.norm, x, normed);
            block.query_key_value.apply(isa, normed, projected, scratch);
            self.store(index, rows, rotations, projected, inputs);
            self.attend(index, rows, projected, inputs, mixed);
            block.out.apply(isa, mixed, attended, scratch);
            if let Some(norm2) = &block.norm2 {
                add(x, attended);
                norm2.apply(spec.norm, x, normed);
                self.feed_forward(block, normed, inner, hidden, added, scratch);
            } else {
                self.feed_forward(block, normed, inner, hidden, added, scratch);
                add(x, attended);
            }
            add(x, added);
        }
        self.norm.apply(spec.norm, x, normed);
        for (row, normed) in rows.iter().zip(normed.chunks_exact(width)) {
            add(&mut inputs[row.input].prediction.hidden_sum, normed);
            last[row.input * width..][..width].copy_from_slice(normed);
        }
    }

    /// Rotates queries and keys by their positions, and stores keys and values in the caches.
    fn store(
        &self,
        index: usize,
        rows: &[TokenRow],
        rotations: &[(f32, f32)],
        projected: &mut [f32],
        inputs: &mut [SequenceInput<'_, NativeCache>],
    ) {
        let spec = &self.spec;
        let (heads, shared, size) = (
            usize::from(spec.heads),
            usize::from(spec.key_value_heads),
            usize::from(spec.head_size),
        );
        let pairs = self.rates.pairs();
        for (at, (row, all)) in rows
            .iter()
            .zip(projected.chunks_exact_mut(spec.query_key_value_width() as usize))
            .enumerate()
        {
            if let PositionEncoding::Rotary { interleaved, .. } = spec.positions {
                let rotations = &rotations[at * pairs..][..pairs];
                for head in all[..(heads + shared) * size].chunks_exact_mut(size) {
                    for (pair, &(sine, cosine)) in rotations.iter().enumerate() {
                        let (a, b) = if interleaved {
                            (2 * pair, 2 * pair + 1)
                        } else {
                            (pair, pair + pairs)
                        };
                        (head[a], head[b]) =
                            (head[a] * cosine - head[b] * sine, head[a] * sine + head[b] * cosine);
                    }
                }
            }
            let cache = &mut *inputs[row.input].cache;
            let (keys, values) = all[heads * size..].split_at(shared * size);
            let kept = &mut cache.layers[index];
            for (parts, kept) in [(keys, &mut kept.keys), (values, &mut kept.values)] {
                for (head, part) in parts.chunks_exact(size).enumerate() {
                    kept[(head * cache.capacity + row.place) * size..][..size]
                        .copy_from_slice(part);
                }
            }
        }
    }

    /// Computes attention for each head of each row.
    fn attend(
        &self,
        index: usize,
        rows: &[TokenRow],
        projected: &[f32],
        inputs: &[SequenceInput<'_, NativeCache>],
        mixed: &mut [f32],
    ) {
        let spec = &self.spec;
        let (heads, size) = (usize::from(spec.heads), usize::from(spec.head_size));
        let group = heads / usize::from(spec.key_value_heads);
        let scale = if spec.scaled { 1.0 / f32::from(spec.head_size).sqrt() } else { 1.0 };
        let window = spec.window(index as u16).map_or(usize::MAX, |window| window as usize);
        let one = |weights: &mut Vec<f32>, (at, out): (usize, &mut [f32])| {
            let (row, head) = (&rows[at / heads], at % heads);
            let cache = &*inputs[row.input].cache;
            let start = head / group * cache.capacity;
            let first = (row.place + 1).saturating_sub(window);
            let seen = (start + first) * size..(start + row.place + 1) * size;
            let query = &projected
                [at / heads * spec.query_key_value_width() as usize + head * size..][..size];
            let kept = &cache.layers[index];
            attend(
                self.isa,
                query,
                &kept.keys[seen.clone()],
                &kept.values[seen],
                scale,
                weights,
                out,
            );
        };
        let places: usize = rows.iter().map(|row| row.place.min(window)).sum();
        if places * heads * size < WORTH_SHARING {
            let mut weights = Vec::new();
            mixed.chunks_exact_mut(size).enumerate().for_each(|item| one(&mut weights, item));
        } else {
            mixed.par_chunks_exact_mut(size).enumerate().for_each_init(Vec::new, one);
        }
    }

    fn feed_forward(
        &self,
        block: &Block,
        x: &[f32],
        inner: &mut Vec<f32>,
        hidden: &mut Vec<f32>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (outputs, width) = (block.up.outputs(), self.spec.feed_forward as usize);
        inner.resize(x.len() / self.spec.width as usize * outputs, 0.0);
        block.up.apply(self.isa, x, inner, scratch);
        hidden.resize(x.len() / self.spec.width as usize * width, 0.0);
        let inner = inner.as_slice();
        let each = |(row, hidden): (usize, &mut [f32])| {
            let (first, second) = inner[row * outputs..][..outputs].split_at(width);
            activate(
                self.isa,
                self.spec.activation,
                first,
                self.spec.gated.then_some(second),
                hidden,
            );
        };
        for_rows(hidden, width, each);
        block.down.apply(self.isa, hidden, out, scratch);
    }
}

impl LanguageModel for NativeModel {
    type Cache = NativeCache;

    fn context(&self) -> usize {
        self.spec.context as usize
    }

    fn vocabulary(&self) -> usize {
        self.spec.vocabulary as usize
    }

    fn is_divisible(&self) -> bool {
        true
    }

    fn new_cache(&self, capacity: usize) -> Result<NativeCache, Error> {
        let capacity = capacity.min(self.context());
        let len = capacity * self.spec.key_value_width() as usize;
        let layers = (0..self.spec.layers)
            .map(|_| KeysValues { keys: vec![0.0; len], values: vec![0.0; len] });
        Ok(NativeCache { layers: layers.collect(), len: 0, capacity })
    }

    fn forward(&self, inputs: &mut [SequenceInput<'_, NativeCache>]) -> Result<(), Error> {
        check(inputs, self.vocabulary())?;
        let mut rows = Vec::new();
        for (index, input) in inputs.iter_mut().enumerate() {
            input.prediction.hidden_sum.clear();
            input.prediction.hidden_sum.resize(self.spec.width as usize, 0.0);
            rows.extend(
                input.tokens.iter().zip(input.cache.len..).map(|(&token, place)| TokenRow {
                    input: index,
                    token,
                    place,
                }),
            );
        }
        // The workspace is cleared before use, so a poisoned lock is harmless.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = &mut *memory;
        let (width, vocabulary) = (self.spec.width as usize, self.vocabulary());
        memory.last.resize(inputs.len() * width, 0.0);
        self.pool.install(|| {
            for rows in rows.chunks(PROMPT_CHUNK_TOKENS) {
                self.read_rows(rows, inputs, memory);
            }
            let Workspace { last, logits, scratch, .. } = memory;
            logits.resize(inputs.len() * vocabulary, 0.0);
            self.head.apply(self.isa, last, logits, scratch);
        });
        for (index, input) in inputs.iter_mut().enumerate() {
            input.cache.len += input.tokens.len();
            input.prediction.logits.clear();
            input
                .prediction
                .logits
                .extend_from_slice(&memory.logits[index * vocabulary..][..vocabulary]);
            let hidden = &memory.last[index * width..][..width];
            let expect = |(weight, bias): &(Vec<f32>, f32)| {
                weight.iter().zip(hidden).map(|(w, x)| w * x).sum::<f32>() + bias
            };
            input.prediction.expected_loss = self.introspection.as_ref().map(expect);
        }
        Ok(())
    }
}

impl SequenceCache for NativeCache {
    fn len(&self) -> usize {
        self.len
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn fork(&self) -> Result<Self, Error> {
        Ok(Self { layers: self.layers.clone(), ..*self })
    }
}

impl Normed {
    fn new(tensors: &NamedTensors<'_>, name: &str) -> Result<Self, pol_model::Error> {
        Ok(Self {
            weight: tensors.get(&format!("{name}.weight"))?.to_vec(),
            bias: tensors.optional(&format!("{name}.bias")),
        })
    }

    /// The norm of each row of `x`.
    fn apply(&self, norm: Norm, x: &[f32], out: &mut Vec<f32>) {
        out.clear();
        let epsilon = f64::from(norm.epsilon()) / 1e9;
        let width = self.weight.len() as f64;
        for row in x.chunks_exact(self.weight.len()) {
            let mean = match norm {
                Norm::Layer { .. } => (sum(row, |x| x) / width) as f32,
                Norm::Rms { .. } => 0.0,
            };
            let square = sum(row, |x| f64::from(x as f32 - mean).powi(2)) / width;
            let scale = (1.0 / (square + epsilon).sqrt()) as f32;
            let scaled =
                row.iter().zip(&self.weight).map(|(x, weight)| (x - mean) * scale * weight);
            if self.bias.is_empty() {
                out.extend(scaled);
            } else {
                out.extend(scaled.zip(&self.bias).map(|(x, bias)| x + bias));
            }
        }
    }
}

/// Eight partial sums, which a vector unit makes at once.
#[inline]
fn sum(row: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    let (parts, rest) = row.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for part in parts {
        for (sum, &x) in sums.iter_mut().zip(part) {
            *sum += of(x.into());
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|&x| of(x.into())).sum::<f64>()
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prediction;
    use pol_model::{Decoder, Weights, initial_parameters};
    use pol_primitives::model::{Activation, Biases, LocalAttention};
    use tch::Tensor;

    fn gpt2() -> ModelSpec {
        ModelSpec::gpt2(37, 24, 3, 3, 40, 150)
    }

    /// One of every kind of part, in several combinations.
    fn specs() -> Vec<ModelSpec> {
        let rotary = |dimensions, interleaved| PositionEncoding::Rotary {
            dimensions,
            base: 10_000,
            interleaved,
        };
        let none = Biases::default();
        let neo = ModelSpec {
            local: Some(LocalAttention { window: 5, period: 2, layers: 2 }),
            scaled: false,
            activation: Activation::Gelu,
            biases: Biases { query_key_value: false, ..gpt2().biases },
            ..gpt2()
        };
        let gpt_j = ModelSpec {
            positions: rotary(4, true),
            parallel: true,
            tied: false,
            biases: Biases { feed_forward: true, head: true, ..none },
            ..gpt2()
        };
        let llama = ModelSpec {
            positions: rotary(8, false),
            norm: Norm::Rms { epsilon: 10_000 },
            heads: 6,
            key_value_heads: 2,
            gated: true,
            activation: Activation::Silu,
            biases: none,
            ..gpt2()
        };
        let biased = ModelSpec {
            biases: Biases { query_key_value: true, feed_forward: true, ..none },
            ..llama
        };
        vec![gpt2(), neo, gpt_j, llama, biased]
    }

    /// Parameters large enough that every path through the model matters.
    fn lively(spec: &ModelSpec) -> Vec<f32> {
        initial_parameters(spec, &[3; 32])
            .into_iter()
            .enumerate()
            .map(|(i, v)| v * 4.0 + (i % 7) as f32 * 0.01)
            .collect()
    }

    fn tokens(len: usize, seed: usize) -> Vec<u32> {
        (0..len).map(|i| ((i * i + 7 * i + seed) % 37) as u32).collect()
    }

    fn read(model: &impl LanguageModel, parts: &[&[u32]]) -> Vec<f32> {
        let mut cache = model.new_cache(150).unwrap();
        let mut prediction = Prediction::default();
        for tokens in parts {
            model
                .forward(&mut [SequenceInput {
                    cache: &mut cache,
                    tokens,
                    prediction: &mut prediction,
                }])
                .unwrap();
        }
        prediction.logits
    }

    #[test]
    fn every_family_reads_as_the_decoder_does() {
        for spec in specs() {
            let flat = lively(&spec);
            let native = NativeModel::new(&spec, &flat, 2).unwrap();
            let weights = Weights::new(&Layout::new(&spec).unwrap(), &flat).unwrap();
            let torch =
                crate::TorchModel::new(&spec, weights.share(false).unwrap(), tch::Device::Cpu)
                    .unwrap();
            for len in [1, 2, 7, 130] {
                let tokens = tokens(len, 3);
                let ids: Vec<i64> = tokens.iter().copied().map(i64::from).collect();
                let logits = Decoder::new(&spec)
                    .unwrap()
                    .logits(&weights, &Tensor::from_slice(&ids).view([1, -1]))
                    .unwrap();
                let expected =
                    Vec::<f32>::try_from(logits.narrow(0, len as i64 - 1, 1).reshape([-1]))
                        .unwrap();
                for logits in [read(&native, &[&tokens]), read(&torch, &[&tokens])] {
                    for (found, expected) in logits.iter().zip(&expected) {
                        assert!(
                            (found - expected).abs() < 1e-4,
                            "{spec:?}: {found} for {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn neither_pieces_nor_company_nor_threads_change_a_bit() {
        for spec in specs() {
            let flat = lively(&spec);
            let [one, three] =
                [1, 3].map(|threads| NativeModel::new(&spec, &flat, threads).unwrap());
            let (long, short) = (tokens(100, 5), tokens(9, 11));
            let (whole, other) = (read(&one, &[&long]), read(&one, &[&short]));
            assert_eq!(whole, read(&three, &[&long]));
            assert_eq!(
                whole,
                read(&three, &[&long[..1], &long[1..70], &long[70..99], &long[99..]])
            );
            let mut caches = [three.new_cache(100).unwrap(), three.new_cache(9).unwrap()];
            let mut predictions = [Prediction::default(), Prediction::default()];
            let [a, b] = &mut caches;
            let [first, second] = &mut predictions;
            three
                .forward(&mut [
                    SequenceInput { cache: a, tokens: &long, prediction: first },
                    SequenceInput { cache: b, tokens: &short, prediction: second },
                ])
                .unwrap();
            assert_eq!((&first.logits, &second.logits), (&whole, &other));
        }
    }

    #[test]
    fn forks_go_their_own_ways() {
        let model = NativeModel::new(&gpt2(), &lively(&gpt2()), 1).unwrap();
        let (start, end) = (tokens(5, 1), tokens(3, 2));
        let mut cache = model.new_cache(20).unwrap();
        let mut prediction = Prediction::default();
        model
            .forward(&mut [SequenceInput {
                cache: &mut cache,
                tokens: &start,
                prediction: &mut prediction,
            }])
            .unwrap();
        let mut fork = cache.fork().unwrap();
        model
            .forward(&mut [SequenceInput {
                cache: &mut cache,
                tokens: &[9, 9, 9],
                prediction: &mut prediction,
            }])
            .unwrap();
        model
            .forward(&mut [SequenceInput {
                cache: &mut fork,
                tokens: &end,
                prediction: &mut prediction,
            }])
            .unwrap();
        assert_eq!(prediction.logits, read(&model, &[&start, &end]));
        assert_eq!((cache.len(), fork.len()), (8, 8));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let model = NativeModel::new(&gpt2(), &lively(&gpt2()), 1).unwrap();
        let mut cache = model.new_cache(4).unwrap();
        let mut prediction = Prediction::default();
        let mut read = |tokens: &[u32]| {
            model.forward(&mut [SequenceInput {
                cache: &mut cache,
                tokens,
                prediction: &mut prediction,
            }])
        };
        assert!(matches!(read(&[37]), Err(Error::Token { token: 37, vocabulary: 37 })));
        assert!(matches!(read(&[1; 5]), Err(Error::Capacity { tokens: 5, capacity: 4 })));
        assert!(read(&[]).is_err());
        assert!(read(&[1; 4]).is_ok());
        assert!(matches!(
            NativeModel::new(&gpt2(), &[0.0; 4], 1),
            Err(Error::Model(pol_model::Error::Length { .. }))
        ));
    }
}
