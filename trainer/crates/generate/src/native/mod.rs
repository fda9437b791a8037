// SPDX-License-Identifier: Apache-2.0

//! Inference on CPUs without libtorch. For a single row the time goes into reading the parameters
//! from memory once.

mod bandwidth;
mod blocks;
mod cache;
mod halves;
mod huge_pages;
mod k_quants;
mod kernels;
mod matrix;
mod packed_file;
mod packing;
mod super_blocks;
mod tensors;

use crate::{
    Error,
    language_model::{LanguageModel, Prediction, SequenceCache, SequenceInput, check},
};
pub use bandwidth::memory_bandwidth;
pub use cache::NativeCache;
use kernels::{AttentionMemory, Isa, ScoreScaling, activate, attend, soft_cap};
use matrix::{Matrix, Scratch, for_rows};
pub use packed_file::PACKED_FILE;
use pol_model::{Layout, RotaryRates};
use pol_primitives::{
    Hash,
    model::{ModelSpec, Norm, PositionEncoding, SoftCaps},
};
use rayon::prelude::*;
use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};
use tensors::PackedTensors;

/// Tokens that are processed at once. A longer prompt is processed in chunks.
const PROMPT_CHUNK_TOKENS: usize = 512;
/// Multiplications of an attention from which other threads help.
const WORTH_SHARING: usize = 1 << 16;

/// Language model with packed parameters for inference on CPUs.
///
/// Parameters of a lower precision than float32 are stored in that precision, which loses nothing
/// and is several times faster. Each is in memory once: embeddings are rows of the matrix that a
/// tied output projection multiplies by. Results have the same bits for any number of threads, any
/// batch, and any division of a sequence.
pub struct NativeModel {
    spec: ModelSpec,
    isa: Isa,
    pool: rayon::ThreadPool,
    /// Embedding; `None` if the output projection is tied to it.
    embedding: Option<Matrix>,
    positions: Vec<f32>,
    /// Angular rates in radians per token, one for each pair of dimensions, of most blocks and of
    /// others.
    rates: [RotaryRates; 2],
    blocks: Vec<Block>,
    norm: Normed,
    head: Matrix,
    introspection: Option<(Vec<f32>, f32)>,
    /// Set if caches keep keys and values as float16.
    float16_cache: bool,
    memory: Mutex<Workspace>,
}

struct Block {
    norm1: Option<Normed>,
    query_key_value: Matrix,
    /// Norms of queries and of keys.
    query_key_norms: Option<[Normed; 2]>,
    out: Matrix,
    /// Norm of the output of attention.
    behind1: Option<Normed>,
    norm2: Option<Normed>,
    /// Norm of the output of the feed-forward layer.
    behind2: Option<Normed>,
    /// Outputs of the gate, if any, then those that it gates.
    up: Matrix,
    down: Matrix,
}

impl Block {
    fn new(spec: &ModelSpec, tensors: &mut PackedTensors, index: u16) -> Self {
        let name = |part: &str| format!("h.{index}.{part}");
        let norm_if = |present: bool, tensors: &mut PackedTensors, part: &str| {
            present.then(|| tensors.norm(&name(part)))
        };
        Self {
            norm1: norm_if(spec.norms.is_before(), tensors, "ln_1"),
            query_key_value: tensors.matrix(&name("attn.c_attn")),
            query_key_norms: spec
                .query_key_norm
                .map(|_| ["attn.q_norm", "attn.k_norm"].map(|part| tensors.norm(&name(part)))),
            out: tensors.matrix(&name("attn.c_proj")),
            behind1: norm_if(spec.norms.is_behind(), tensors, "ln_1_behind"),
            norm2: norm_if(spec.has_second_norm(), tensors, "ln_2"),
            behind2: norm_if(spec.norms.is_behind(), tensors, "ln_2_behind"),
            up: tensors.matrix(&name("mlp.c_fc")),
            down: tensors.matrix(&name("mlp.c_proj")),
        }
    }
}

/// Weight, and the bias of a LayerNorm.
struct Normed {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// One token to process, with its input, the prediction that it may be the last token of, and its
/// position.
#[derive(Clone, Copy)]
struct TokenRow {
    input: usize,
    output: usize,
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
    rotations: [Vec<(f32, f32)>; 2],
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
        let expected = Layout::new(spec).map_err(pol_model::Error::from)?.len();
        if flat.len() != expected {
            return Err(pol_model::Error::Length { expected, found: flat.len() }.into());
        }
        let mut left = flat;
        Self::from_reader(spec, threads, |values| {
            let (next, after) = left.split_at(values.len());
            values.copy_from_slice(next);
            left = after;
            Ok(())
        })
    }

    /// Creates a model of `spec`, with `threads` threads, from parameters that are read in
    /// canonical order. `read` is called until it has filled slices with all of them.
    ///
    /// Each tensor is packed before the next one is read. Memory beside the model holds the values
    /// of one matrix of a block.
    ///
    /// # Errors
    ///
    /// Fails if the specification is invalid or unsupported, if threads cannot be started, or if
    /// `read` fails.
    pub fn from_reader<E: From<Error>>(
        spec: &ModelSpec,
        threads: usize,
        mut read: impl FnMut(&mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let (isa, pool) = Self::prepare(spec, threads)?;
        let tensors = PackedTensors::read(spec, &pool, &mut read)?;
        Ok(Self::assemble(spec, isa, pool, tensors))
    }

    /// Packs parameters of a model of `spec` as [`from_reader`](Self::from_reader) does, and writes
    /// them to the file at `path`, whole or not at all. `root` is the root of the model, which
    /// `read` has verified with the last parameter.
    ///
    /// # Errors
    ///
    /// Fails as [`from_reader`](Self::from_reader) does, and if the file cannot be written.
    pub fn write_packed<E: From<Error>>(
        spec: &ModelSpec,
        root: &Hash,
        threads: usize,
        mut read: impl FnMut(&mut [f32]) -> Result<(), E>,
        path: &Path,
    ) -> Result<(), E> {
        let (_, pool) = Self::prepare(spec, threads)?;
        let tensors = PackedTensors::read(spec, &pool, &mut read)?;
        pool.install(|| packed_file::write(path, root, spec, &tensors))?;
        Ok(())
    }

    /// Packs parameters as [`write_packed`](Self::write_packed) does, and compares the file at
    /// `path` with what it would write.
    ///
    /// # Errors
    ///
    /// Fails as [`from_reader`](Self::from_reader) does, and if the file cannot be read or differs.
    pub fn compare_packed<E: From<Error>>(
        spec: &ModelSpec,
        root: &Hash,
        threads: usize,
        mut read: impl FnMut(&mut [f32]) -> Result<(), E>,
        path: &Path,
    ) -> Result<(), E> {
        let (_, pool) = Self::prepare(spec, threads)?;
        let tensors = PackedTensors::read(spec, &pool, &mut read)?;
        pool.install(|| packed_file::compare(path, root, spec, &tensors))?;
        Ok(())
    }

    /// Creates a model of `spec`, with `threads` threads, from a file of
    /// [`write_packed`](Self::write_packed).
    ///
    /// Parameters are read in the forms in which products take them, so this takes as long as
    /// reading and hashing the file. The file is compared with its own hashes, and what it says of
    /// itself with `spec` and `root`. Its parameters are not compared with `root`, which only
    /// [`compare_packed`](Self::compare_packed) does. Where the root is claimed to others, read the
    /// parameters with [`from_reader`](Self::from_reader).
    ///
    /// # Errors
    ///
    /// Fails as [`from_reader`](Self::from_reader) does, and if the file is damaged or is that of
    /// another model or version.
    pub fn from_packed(
        spec: &ModelSpec,
        root: &Hash,
        threads: usize,
        path: &Path,
    ) -> Result<Self, Error> {
        let (isa, pool) = Self::prepare(spec, threads)?;
        let tensors = pool.install(|| packed_file::read(path, root, spec))?;
        Ok(Self::assemble(spec, isa, pool, tensors))
    }

    /// Checks that models of `spec` are supported, and starts `threads` threads.
    fn prepare(spec: &ModelSpec, threads: usize) -> Result<(Isa, rayon::ThreadPool), Error> {
        spec.validate().map_err(|invalid| Error::Model(invalid.into()))?;
        let isa = Isa::detect().filter(|_| Self::supports(spec)).ok_or(Error::Unsupported)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Error::Threads(error.to_string()))?;
        Ok((isa, pool))
    }

    fn assemble(
        spec: &ModelSpec,
        isa: Isa,
        pool: rayon::ThreadPool,
        mut tensors: PackedTensors,
    ) -> Self {
        let blocks = (0..spec.layers).map(|index| Block::new(spec, &mut tensors, index)).collect();
        let norm = tensors.norm("ln_f");
        let embedding = tensors.matrix("wte");
        let (embedding, head) = if spec.tied {
            (None, embedding.with_bias(tensors.vector("lm_head.bias")))
        } else {
            (Some(embedding), tensors.matrix("lm_head"))
        };
        let introspection = spec.mind.introspection.then(|| {
            let [weight, bias] = ["weight", "bias"]
                .map(|part| tensors.vector(&format!("mind.introspection.{part}")));
            (weight, bias.first().copied().unwrap_or_default())
        });
        Self {
            spec: *spec,
            isa,
            pool,
            embedding,
            positions: tensors.vector("wpe.weight"),
            rates: spec.rotations().map(|rotation| match rotation {
                Some(rotation) => RotaryRates::new(&rotation),
                None => RotaryRates::default(),
            }),
            blocks,
            norm,
            head,
            introspection,
            float16_cache: false,
            memory: Mutex::default(),
        }
    }

    /// Lets caches keep keys and values as float16, in half the memory of float32.
    ///
    /// Keys and values are rounded, to even, and bounded by the largest finite float16. Texts may
    /// therefore differ from those with float32. They are the same on every machine, in any company
    /// and division.
    #[must_use]
    pub fn with_float16_cache(self) -> Self {
        Self { float16_cache: true, ..self }
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

    /// Processes rows, which have `outputs` predictions, and adds them to the caches.
    fn process(
        &self,
        rows: &[TokenRow],
        inputs: &mut [SequenceInput<'_, NativeCache>],
        outputs: usize,
        memory: &mut Workspace,
    ) {
        let (width, vocabulary) = (self.spec.width as usize, self.vocabulary());
        for input in inputs.iter_mut() {
            input.cache.reserve(input.tokens.len());
            input.prediction.hidden_sum.clear();
            input.prediction.hidden_sum.resize(width, 0.0);
        }
        memory.last.resize(outputs * width, 0.0);
        self.pool.install(|| {
            for rows in rows.chunks(PROMPT_CHUNK_TOKENS) {
                self.read_rows(rows, inputs, memory);
            }
            let Workspace { last, logits, scratch, .. } = &mut *memory;
            logits.resize(outputs * vocabulary, 0.0);
            self.head.apply(self.isa, last, logits, scratch);
            if let Some(cap) = self.spec.caps.logits.map(cap) {
                logits.iter_mut().for_each(|logit| *logit = soft_cap(*logit, cap));
            }
        });
        for input in inputs {
            input.cache.advance(input.tokens.len());
        }
    }

    /// Writes logits and expected loss of an output to `prediction`.
    fn predict(&self, output: usize, memory: &Workspace, prediction: &mut Prediction) {
        let (width, vocabulary) = (self.spec.width as usize, self.vocabulary());
        prediction.logits.clear();
        prediction.logits.extend_from_slice(&memory.logits[output * vocabulary..][..vocabulary]);
        let hidden = &memory.last[output * width..][..width];
        let expect = |(weight, bias): &(Vec<f32>, f32)| {
            weight.iter().zip(hidden).map(|(w, x)| w * x).sum::<f32>() + bias
        };
        prediction.expected_loss = self.introspection.as_ref().map(expect);
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
        self.embed(rows, x);
        for (rotations, rates) in rotations.iter_mut().zip(&self.rates) {
            rotations.clear();
            rotations.extend(rows.iter().flat_map(|row| rates.at(row.place)));
        }
        projected.resize(count * spec.query_key_value_width() as usize, 0.0);
        mixed.resize(count * spec.attention_width() as usize, 0.0);
        attended.resize(count * width, 0.0);
        added.resize(count * width, 0.0);
        for (index, block) in self.blocks.iter().enumerate() {
            let input = norm_or_same(block.norm1.as_ref(), spec.norm, x, normed);
            block.query_key_value.apply(isa, input, projected, scratch);
            if let Some(norms) = &block.query_key_norms {
                self.norm_heads(norms, projected);
            }
            self.store(index, rows, rotations, projected, inputs);
            self.attend(index, rows, projected, inputs, mixed);
            block.out.apply(isa, mixed, attended, scratch);
            norm_in_place(block.behind1.as_ref(), spec.norm, attended);
            if !spec.parallel {
                add(x, attended);
            }
            // Parallel sublayers read the same stream, by one norm unless each has its own.
            let input = if spec.parallel && block.norm2.is_none() {
                normed.as_slice()
            } else {
                norm_or_same(block.norm2.as_ref(), spec.norm, x, normed)
            };
            self.feed_forward(block, input, inner, hidden, added, scratch);
            norm_in_place(block.behind2.as_ref(), spec.norm, added);
            if spec.parallel {
                add(x, attended);
            }
            add(x, added);
        }
        self.norm.apply(spec.norm, x, normed);
        for (row, normed) in rows.iter().zip(normed.chunks_exact(width)) {
            add(&mut inputs[row.input].prediction.hidden_sum, normed);
            last[row.output * width..][..width].copy_from_slice(normed);
        }
    }

    /// Writes the embeddings of tokens and positions to `x`.
    fn embed(&self, rows: &[TokenRow], x: &mut Vec<f32>) {
        let width = self.spec.width as usize;
        let embedding = self.embedding.as_ref().unwrap_or(&self.head);
        x.clear();
        for row in rows {
            let start = x.len();
            embedding.weights(row.token as usize, x);
            if let Some(place) = self.positions.get(row.place * width..(row.place + 1) * width) {
                add(&mut x[start..], place);
            }
        }
    }

    /// Normalises queries and keys.
    fn norm_heads(&self, [queries, keys]: &[Normed; 2], projected: &mut [f32]) {
        let [attention, shared] =
            [self.spec.attention_width(), self.spec.key_value_width()].map(|width| width as usize);
        for row in projected.chunks_exact_mut(self.spec.query_key_value_width() as usize) {
            queries.apply_in_place(self.spec.norm, &mut row[..attention]);
            keys.apply_in_place(self.spec.norm, &mut row[attention..attention + shared]);
        }
    }

    /// Rotates queries and keys by their positions, and stores keys and values in the caches.
    fn store(
        &self,
        index: usize,
        rows: &[TokenRow],
        rotations: &[Vec<(f32, f32)>; 2],
        projected: &mut [f32],
        inputs: &mut [SequenceInput<'_, NativeCache>],
    ) {
        let spec = &self.spec;
        let (heads, shared, size) = (
            usize::from(spec.heads),
            usize::from(spec.key_value_heads),
            usize::from(spec.head_size),
        );
        let kind = usize::from(spec.has_other_rotation(index as u16));
        let (pairs, rotations) = (self.rates[kind].pairs(), &rotations[kind]);
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
            let (keys, values) = all[heads * size..].split_at(shared * size);
            inputs[row.input].cache.write(index, row.place, keys, values);
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
        let scaling = ScoreScaling {
            scale: if spec.scaled { 1.0 / f32::from(spec.head_size).sqrt() } else { 1.0 },
            cap: spec.caps.attention.map(cap),
        };
        let window = spec.window(index as u16).map_or(usize::MAX, |window| window as usize);
        let one = |memory: &mut AttentionMemory, (at, out): (usize, &mut [f32])| {
            let (row, head) = (&rows[at / heads], at % heads);
            let first = (row.place + 1).saturating_sub(window);
            let seen = inputs[row.input].cache.read(index, head / group, first..row.place + 1);
            let query = &projected
                [at / heads * spec.query_key_value_width() as usize + head * size..][..size];
            attend(self.isa, query, seen, scaling, memory, out);
        };
        let places: usize = rows.iter().map(|row| row.place.min(window)).sum();
        if places * heads * size < WORTH_SHARING {
            let mut memory = AttentionMemory::default();
            mixed.chunks_exact_mut(size).enumerate().for_each(|item| one(&mut memory, item));
        } else {
            let heads = mixed.par_chunks_exact_mut(size).enumerate();
            heads.for_each_init(AttentionMemory::default, one);
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
        Ok(NativeCache::new(&self.spec, capacity.min(self.context()), self.float16_cache))
    }

    fn forward(&self, inputs: &mut [SequenceInput<'_, NativeCache>]) -> Result<(), Error> {
        check(inputs, self.vocabulary())?;
        let mut rows = Vec::new();
        for (input, it) in inputs.iter().enumerate() {
            let places = it.cache.len()..;
            let row = |(&token, place)| TokenRow { input, output: input, token, place };
            rows.extend(it.tokens.iter().zip(places).map(row));
        }
        // The workspace is cleared before use, so a poisoned lock is harmless.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = inputs.len();
        self.process(&rows, inputs, outputs, &mut memory);
        for (index, input) in inputs.iter_mut().enumerate() {
            self.predict(index, &memory, input.prediction);
        }
        Ok(())
    }

    fn forward_each(
        &self,
        cache: &mut NativeCache,
        tokens: &[u32],
        predictions: &mut [Prediction],
    ) -> Result<(), Error> {
        let mut together = Prediction::default();
        let inputs = &mut [SequenceInput { cache, tokens, prediction: &mut together }];
        check(inputs, self.vocabulary())?;
        let places = inputs[0].cache.len()..;
        let row = |((output, &token), place)| TokenRow { input: 0, output, token, place };
        let rows: Vec<_> = tokens.iter().enumerate().zip(places).map(row).collect();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        self.process(&rows, inputs, tokens.len(), &mut memory);
        let width = self.spec.width as usize;
        for (index, prediction) in predictions.iter_mut().take(tokens.len()).enumerate() {
            self.predict(index, &memory, prediction);
            prediction.hidden_sum.clear();
            prediction.hidden_sum.resize(width, 0.0);
            add(&mut prediction.hidden_sum, &memory.last[index * width..][..width]);
        }
        Ok(())
    }
}

impl Normed {
    /// Normalises each row of `x` into `out`.
    fn apply(&self, norm: Norm, x: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.extend_from_slice(x);
        self.apply_in_place(norm, out);
    }

    /// Normalises each row of `x`, which has as many values as there are weights.
    fn apply_in_place(&self, norm: Norm, x: &mut [f32]) {
        let epsilon = f64::from(norm.epsilon()) / 1e9;
        let width = self.weight.len() as f64;
        for row in x.chunks_exact_mut(self.weight.len()) {
            let mean = match norm {
                Norm::Layer { .. } => (sum(row, |x| x) / width) as f32,
                Norm::Rms { .. } => 0.0,
            };
            let square = sum(row, |x| f64::from(x as f32 - mean).powi(2)) / width;
            let scale = (1.0 / (square + epsilon).sqrt()) as f32;
            for (x, weight) in row.iter_mut().zip(&self.weight) {
                *x = (*x - mean) * scale * weight;
            }
            add(row, &self.bias);
        }
    }
}

/// Returns `x` normalised into `out`, or `x` itself without a norm.
fn norm_or_same<'a>(
    normed: Option<&Normed>,
    norm: Norm,
    x: &'a [f32],
    out: &'a mut Vec<f32>,
) -> &'a [f32] {
    match normed {
        Some(normed) => {
            normed.apply(norm, x, out);
            out
        }
        None => x,
    }
}

/// Normalises `x`, if there is a norm.
fn norm_in_place(normed: Option<&Normed>, norm: Norm, x: &mut [f32]) {
    if let Some(normed) = normed {
        normed.apply_in_place(norm, x);
    }
}

/// Converts a bound to a number.
fn cap(thousandths: u32) -> f32 {
    (f64::from(thousandths) / f64::from(SoftCaps::UNIT)) as f32
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
    use pol_model::{Decoder, Weights, initial_parameters};
    use pol_primitives::model::{
        Activation, Biases, LocalAttention, NormPlacement, OtherRotation, QueryKeyNorm, RotaryBase,
        RotaryScaling, ScalingRamp,
    };
    use tch::Tensor;

    fn gpt2() -> ModelSpec {
        ModelSpec::gpt2(37, 24, 3, 3, 40, 150)
    }

    #[test]
    fn tokens_of_a_sequence_are_predicted_at_once() {
        let mut spec = gpt2();
        spec.mind.introspection = true;
        let model = NativeModel::new(&spec, &initial_parameters(&spec, &[3; 32]), 2).unwrap();
        let tokens: Vec<u32> = (0..21).map(|i| i * 7 % 37).collect();
        let (mut one, mut all) = (model.new_cache(40).unwrap(), model.new_cache(40).unwrap());
        let mut expected = Vec::new();
        for token in &tokens {
            let (tokens, mut prediction) = (std::slice::from_ref(token), Prediction::default());
            let (cache, into) = (&mut one, &mut prediction);
            model.forward(&mut [SequenceInput { cache, tokens, prediction: into }]).unwrap();
            expected.push(prediction);
        }
        let mut found = vec![Prediction::default(); 21];
        let (first, second) = found.split_at_mut(5);
        model.forward_each(&mut all, &tokens[..5], first).unwrap();
        model.forward_each(&mut all, &tokens[5..], second).unwrap();
        assert_eq!((found, all.len()), (expected, 21));
        let error = model.forward_each(&mut all, &[1; 20], &mut []).unwrap_err();
        assert!(matches!(error, Error::Capacity { tokens: 41, capacity: 40 }));
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
        let mut specs = vec![gpt2(), neo, gpt_j, llama, biased];
        specs.extend(later_specs(llama));
        specs
    }

    /// Combinations of parts that came after the first release.
    fn later_specs(llama: ModelSpec) -> [ModelSpec; 5] {
        let scaling = |ramp| {
            let (factor, amplitude) = (4_000_000, 1_100_000_000);
            Some(RotaryScaling { factor, ramp, amplitude })
        };
        let other = |layers, base| Some(OtherRotation { period: 2, layers, base });
        let local = Some(LocalAttention { window: 5, period: 2, layers: 1 });
        let wavelengths = ScalingRamp::Wavelengths { short: 9_000, long: 900_000 };
        let qwen3 = ModelSpec {
            query_key_norm: Some(QueryKeyNorm::Head),
            scaling: scaling(wavelengths),
            ..llama
        };
        let olmo2 = ModelSpec {
            query_key_norm: Some(QueryKeyNorm::Whole),
            norms: NormPlacement::After,
            other_rotation: other(2, None),
            ..llama
        };
        let gemma2 = ModelSpec {
            norms: NormPlacement::Around,
            caps: SoftCaps { attention: Some(2_000), logits: Some(3_000) },
            local,
            ..llama
        };
        let base = RotaryBase { base: 100, scaling: scaling(ScalingRamp::All) };
        let gemma3 = ModelSpec {
            query_key_norm: Some(QueryKeyNorm::Head),
            norms: NormPlacement::Around,
            other_rotation: other(1, Some(base)),
            local,
            ..llama
        };
        let neox = ModelSpec {
            activation: Activation::Relu,
            positions: PositionEncoding::Rotary { dimensions: 2, base: 10_000, interleaved: false },
            query_key_norm: Some(QueryKeyNorm::Head),
            parallel: true,
            norms: NormPlacement::Apart,
            ..gpt2()
        };
        [qwen3, olmo2, gemma2, gemma3, neox]
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
        for (spec, is_half) in specs().into_iter().flat_map(|spec| [(spec, false), (spec, true)]) {
            let flat = lively(&spec);
            let [one, three] = [1, 3].map(|threads| {
                let model = NativeModel::new(&spec, &flat, threads).unwrap();
                if is_half { model.with_float16_cache() } else { model }
            });
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
    fn float16_keys_and_values_change_logits_a_little() {
        for spec in specs() {
            let flat = lively(&spec);
            let model = NativeModel::new(&spec, &flat, 2).unwrap();
            let exact = read(&model, &[&tokens(60, 5)]);
            let rounded = read(&model.with_float16_cache(), &[&tokens(60, 5)]);
            assert_ne!(exact, rounded);
            for (exact, rounded) in exact.iter().zip(&rounded) {
                assert!((exact - rounded).abs() < 0.1, "{spec:?}: {rounded} for {exact}");
            }
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
