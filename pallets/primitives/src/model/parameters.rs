// SPDX-License-Identifier: Apache-2.0

//! Parameter tensors of a model in canonical order.

use super::{Experts, ModelSpec, Norm, NormPlacement, PositionEncoding, Superposition};
use alloc::{format, string::String, vec::Vec};

/// Initial values of a parameter tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normally distributed around 0, with this standard deviation in millionths.
    Normal(u32),
}

/// Specification of a parameter tensor, which is stored in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name in the GPT-2 convention, such as `h.0.attn.c_attn.weight`.
    pub name: String,
    /// Sizes of the dimensions, outermost first.
    pub shape: Vec<u32>,
    /// Initial values.
    pub init: Init,
    /// Set if weight decay applies, which is the case for matrices and not for vectors.
    pub decays: bool,
}

impl Parameter {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1usize, |product, &size| product.saturating_mul(size as usize))
    }

    /// Returns `true` if the tensor has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ModelSpec {
    /// Returns the number of parameters.
    pub fn size(&self) -> u64 {
        let [v, d, f, c] =
            [self.vocabulary, self.width, self.feed_forward, self.context].map(u64::from);
        let [attention, projected] =
            [self.attention_width(), self.query_key_value_width()].map(u64::from);
        let sum = |terms: &[u64]| terms.iter().fold(0u64, |sum, &term| sum.saturating_add(term));
        let when = |condition: bool, size: u64| if condition { size } else { 0 };
        let norm = d.saturating_mul(self.norm.vectors());
        let inputs = f.saturating_mul(if self.gated { 2 } else { 1 });
        let expert = sum(&[
            d.saturating_mul(inputs.saturating_add(f)),
            when(self.biases.feed_forward, inputs.saturating_add(d)),
        ]);
        let feed_forward = self.experts.map_or(expert, |Experts { count, .. }| {
            sum(&[expert, d, 1]).saturating_mul(count.into())
        });
        let query_key_norms = self.query_key_norm_widths().map_or(0, |[queries, keys]| {
            u64::from(queries).saturating_add(keys.into()).saturating_mul(self.norm.vectors())
        });
        let superposition =
            self.mind.superposition.map_or(0, |Superposition { branches, rank }| {
                let [branches, rank] = [branches.into(), rank.into()].map(|size: u64| size);
                let columns = sum(&[
                    branches.saturating_mul(2),
                    branches.saturating_mul(rank),
                    rank.saturating_mul(3),
                    1,
                ]);
                d.saturating_mul(columns)
            });
        let block = sum(&[
            norm.saturating_mul(self.norms_of_a_block()),
            query_key_norms,
            d.saturating_mul(projected),
            when(self.biases.query_key_value, projected),
            attention.saturating_mul(d),
            when(self.biases.attention_output, d),
            feed_forward,
            superposition,
        ]);
        sum(&[
            v.saturating_mul(d),
            when(self.positions == PositionEncoding::Learned, c.saturating_mul(d)),
            block.saturating_mul(self.layers.into()),
            norm,
            when(!self.tied, v.saturating_mul(d)),
            when(self.biases.head, v),
            when(self.mind.introspection, d.saturating_add(1)),
            when(self.mind.second_pass > 0, 1),
        ])
    }

    /// Returns the number of norms of the residual stream in a block.
    pub fn norms_of_a_block(&self) -> u64 {
        match (self.norms, self.parallel) {
            (NormPlacement::Before, true) => 1,
            (NormPlacement::Before | NormPlacement::After | NormPlacement::Apart, _) => 2,
            (NormPlacement::Around, _) => 4,
        }
    }

    /// Returns `true` if a block has a norm before its feed-forward layer alone.
    pub fn has_second_norm(&self) -> bool {
        match self.norms {
            NormPlacement::Before => !self.parallel,
            NormPlacement::After => false,
            NormPlacement::Around | NormPlacement::Apart => true,
        }
    }

    /// Returns every parameter tensor in canonical order: the order of the parameter blob whose
    /// BLAKE3 hash is the root of a head.
    ///
    /// Names are those of GPT-2. Matrices have the shape `[in, out]`, those of the vocabulary
    /// `[vocabulary, width]`. With experts, matrices of the feed-forward layers have the shape
    /// `[count, in, out]`, and their biases `[count, out]`.
    pub fn parameters(&self) -> Vec<Parameter> {
        let Self { vocabulary, width, context, .. } = *self;
        let mut list = ParameterList(Vec::new());
        list.matrix("wte.weight".into(), &[vocabulary, width], 20_000);
        if self.positions == PositionEncoding::Learned {
            list.matrix("wpe.weight".into(), &[context, width], 10_000);
        }
        for index in 0..self.layers {
            self.block_parameters(index, &mut list);
        }
        list.norm("ln_f", self.norm, width);
        if !self.tied {
            list.matrix("lm_head.weight".into(), &[vocabulary, width], 20_000);
        }
        list.bias(self.biases.head, "lm_head.bias".into(), &[vocabulary]);
        if self.mind.introspection {
            list.vector("mind.introspection.weight".into(), &[width], Init::Zeros);
            list.vector("mind.introspection.bias".into(), &[1], Init::Zeros);
        }
        if self.mind.second_pass > 0 {
            list.vector("mind.second_pass.gate".into(), &[1], Init::Zeros);
        }
        list.0
    }

    /// Appends the parameters of block `index`.
    fn block_parameters(&self, index: u16, list: &mut ParameterList) {
        let Self { width, layers, biases, norms, .. } = *self;
        let [attention, projected] = [self.attention_width(), self.query_key_value_width()];
        let name = |part: &str| format!("h.{index}.{part}");
        if norms.is_before() {
            list.norm(&name("ln_1"), self.norm, width);
        }
        list.matrix(name("attn.c_attn.weight"), &[width, projected], 20_000);
        list.bias(biases.query_key_value, name("attn.c_attn.bias"), &[projected]);
        if let Some([queries, keys]) = self.query_key_norm_widths() {
            list.norm(&name("attn.q_norm"), self.norm, queries);
            list.norm(&name("attn.k_norm"), self.norm, keys);
        }
        list.matrix(name("attn.c_proj.weight"), &[attention, width], residual_deviation(layers));
        list.bias(biases.attention_output, name("attn.c_proj.bias"), &[width]);
        if norms.is_behind() {
            list.norm(&name("ln_1_behind"), self.norm, width);
        }
        if self.has_second_norm() {
            list.norm(&name("ln_2"), self.norm, width);
        }
        self.feed_forward_parameters(index, list);
        if norms.is_behind() {
            list.norm(&name("ln_2_behind"), self.norm, width);
        }
        if let Some(Superposition { branches, rank }) = self.mind.superposition {
            let [branches, rank] = [u32::from(branches), u32::from(rank)];
            let amplitudes = branches.saturating_mul(2);
            list.matrix(name("mind.amplitudes.weight"), &[width, amplitudes], 20_000);
            let states = branches.saturating_mul(rank);
            list.matrix(name("mind.branches.weight"), &[width, states], 20_000);
            list.matrix(name("mind.query.weight"), &[width, rank], 20_000);
            list.matrix(name("mind.key.weight"), &[width, rank], 20_000);
            list.matrix(name("mind.out.weight"), &[rank, width], 20_000);
            list.vector(name("mind.gate"), &[width], Init::Zeros);
        }
    }

    /// Appends the parameters of the feed-forward layer of block `index`.
    fn feed_forward_parameters(&self, index: u16, list: &mut ParameterList) {
        let Self { width, layers, feed_forward, biases, .. } = *self;
        let name = |part: &str| format!("h.{index}.mlp.{part}");
        if let Some(Experts { count, .. }) = self.experts {
            list.matrix(name("router.weight"), &[width, count.into()], 20_000);
            list.vector(name("router.bias"), &[count.into()], Init::Zeros);
        }
        let count = self.experts.map(|experts| experts.count.into());
        let stacked =
            |shape: &[u32]| count.into_iter().chain(shape.iter().copied()).collect::<Vec<u32>>();
        let mut projection = |part: &str, rows: u32, columns: u32, deviation: u32| {
            let (weight, bias) = (format!("{part}.weight"), format!("{part}.bias"));
            list.matrix(name(&weight), &stacked(&[rows, columns]), deviation);
            list.bias(biases.feed_forward, name(&bias), &stacked(&[columns]));
        };
        if self.gated {
            projection("c_gate", width, feed_forward, 20_000);
        }
        projection("c_fc", width, feed_forward, 20_000);
        projection("c_proj", feed_forward, width, residual_deviation(layers));
    }
}

/// A list of parameter tensors under construction. Deviations are in millionths.
struct ParameterList(Vec<Parameter>);

impl ParameterList {
    fn matrix(&mut self, name: String, shape: &[u32], deviation: u32) {
        self.0.push(Parameter {
            name,
            shape: shape.to_vec(),
            init: Init::Normal(deviation),
            decays: true,
        });
    }

    fn vector(&mut self, name: String, shape: &[u32], init: Init) {
        self.0.push(Parameter { name, shape: shape.to_vec(), init, decays: false });
    }

    fn bias(&mut self, present: bool, name: String, shape: &[u32]) {
        if present {
            self.vector(name, shape, Init::Zeros);
        }
    }

    fn norm(&mut self, name: &str, norm: Norm, width: u32) {
        self.vector(format!("{name}.weight"), &[width], Init::Ones);
        self.bias(matches!(norm, Norm::Layer { .. }), format!("{name}.bias"), &[width]);
    }
}

/// Returns the standard deviation, in millionths, of the projections that feed the residual stream.
///
/// GPT-2 scales them by `1 / √(2 · layers)`. The integer square root makes the result independent
/// of the machine.
fn residual_deviation(layers: u16) -> u32 {
    let squared = 400_000_000u64.checked_div(u64::from(layers).saturating_mul(2)).unwrap_or(0);
    u32::try_from(squared.isqrt()).unwrap_or(0)
}
