// SPDX-License-Identifier: Apache-2.0

//! Causal attention of every family, written out or fused.

use crate::{
    Error,
    layers::Block,
    linear::{Linear, NormLayer},
    rotary::RotaryTable,
    soft_cap::soft_cap,
};
use pol_primitives::model::ModelSpec;
use tch::{Device, Kind, Tensor};

/// State that the attention of all blocks shares in one forward pass.
#[derive(Debug)]
pub(crate) struct Attention {
    spec: ModelSpec,
    fused: bool,
    /// Number of rows.
    pub(crate) batch: i64,
    length: i64,
    /// Number of earlier tokens, whose keys and values are in a cache.
    pub(crate) past: i64,
    /// Rotations of most and of other blocks.
    rotary: [Option<RotaryTable>; 2],
    /// Masks of global and of local blocks.
    masks: [Mask; 2],
}

/// Attention mask of a block.
#[derive(Debug)]
struct Mask {
    /// First key that any of the queries sees.
    first: i64,
    /// Set if the queries are all tokens and each sees itself and all tokens before it.
    causal: bool,
    /// Mask added to the scores, `[1, group · length, keys]`: minus infinity where a key is hidden.
    /// `None` if no key is hidden.
    added: Option<Tensor>,
}

impl Attention {
    /// Prepares attention for `length` tokens in each of `batch` rows, after `past` tokens that a
    /// cache holds.
    pub(crate) fn new(
        spec: &ModelSpec,
        fused: bool,
        batch: i64,
        length: i64,
        past: i64,
        device: Device,
    ) -> Result<Self, Error> {
        let positions = past as usize..(past + length) as usize;
        let [most, other] = spec.rotations().map(|rotation| {
            let table = |rotation| RotaryTable::new(&rotation, positions.clone(), device);
            rotation.map(table).transpose()
        });
        // The fused kernel bounds no scores.
        let fused = fused && spec.caps.attention.is_none();
        let group = i64::from(spec.heads / spec.key_value_heads);
        let mask = |window: Option<i64>| Mask::new(length, past, window, group, fused, device);
        let window = spec.local.map(|local| i64::from(local.window));
        Ok(Self {
            spec: *spec,
            fused,
            batch,
            length,
            past,
            rotary: [most?, other?],
            masks: [mask(None)?, mask(window)?],
        })
    }

    /// Computes queries, keys and values of block `index` from its input `x`
    /// `[batch · length, width]`, which was normed. Each is `[batch, heads, length, head size]`.
    /// Keys and values have fewer heads where they are shared.
    pub(crate) fn project(
        &self,
        index: u16,
        block: &Block<'_>,
        x: &Tensor,
    ) -> Result<[Tensor; 3], Error> {
        let [heads, shared, _] = self.heads();
        let projected = self.by_head(&block.query_key_value.apply(x)?, heads + 2 * shared)?;
        let [queries, keys, values] = match (self.rotary(index), &block.query_key_norms) {
            (None, None) => split_heads(&projected, [heads, shared, shared])?,
            (Some(rotary), None) => {
                let [rotated, values] = split_heads(&projected, [heads + shared, shared])?;
                let [queries, keys] = split_heads(&rotary.rotate(&rotated)?, [heads, shared])?;
                [queries, keys, values]
            }
            (rotary, Some([query_norm, key_norm])) => {
                let [queries, keys, values] = split_heads(&projected, [heads, shared, shared])?;
                let normed = |norm, x| rotated(rotary, self.norm_heads(norm, x)?);
                [normed(query_norm, &queries)?, normed(key_norm, &keys)?, values]
            }
        };
        Ok([queries.f_transpose(1, 2)?, keys.f_transpose(1, 2)?, values.f_transpose(1, 2)?])
    }

    /// Computes the queries alone, as [`project`](Self::project) does.
    pub(crate) fn project_queries(
        &self,
        index: u16,
        block: &Block<'_>,
        x: &Tensor,
    ) -> Result<Tensor, Error> {
        let [heads, _, size] = self.heads();
        let projection = &block.query_key_value;
        let weight = projection.weight.f_narrow(1, 0, heads * size)?;
        let bias = projection.bias.map(|bias| bias.f_narrow(0, 0, heads * size)).transpose()?;
        let queries = Linear { weight: &weight, bias: bias.as_ref() }.apply(x)?;
        let mut queries = self.by_head(&queries, heads)?;
        if let Some([norm, _]) = &block.query_key_norms {
            queries = self.norm_heads(norm, &queries)?;
        }
        Ok(rotated(self.rotary(index), queries)?.f_transpose(1, 2)?)
    }

    /// Returns the rotation of block `index`.
    fn rotary(&self, index: u16) -> Option<&RotaryTable> {
        self.rotary[usize::from(self.spec.has_other_rotation(index))].as_ref()
    }

    /// Normalises `x` `[batch, length, heads, head size]` over as many values as `norm` has
    /// weights: a head, or all heads.
    fn norm_heads(&self, norm: &NormLayer<'_>, x: &Tensor) -> Result<Tensor, Error> {
        let rows = x.f_reshape([-1, norm.weight.numel() as i64])?;
        Ok(norm.apply(self.spec.norm, &rows)?.f_view_as(x)?)
    }

    fn heads(&self) -> [i64; 3] {
        [self.spec.heads, self.spec.key_value_heads, self.spec.head_size].map(i64::from)
    }

    fn by_head(&self, projected: &Tensor, heads: i64) -> Result<Tensor, Error> {
        Ok(projected.f_view([self.batch, self.length, heads, self.spec.head_size.into()])?)
    }

    /// Attends with the `queries` of block `index` to `keys` and `values` of all tokens up to them:
    /// `[batch · length, attention width]`.
    pub(crate) fn attend(
        &self,
        index: u16,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<Tensor, Error> {
        let Self { batch, length, .. } = *self;
        let [heads, shared, size] = self.heads();
        let mask = &self.masks[usize::from(self.spec.window(index).is_some())];
        let seen = self.past + length - mask.first;
        let (keys, values) =
            (keys.f_narrow(2, mask.first, seen)?, values.f_narrow(2, mask.first, seen)?);
        let scale = if self.spec.scaled { 1.0 / (size as f64).sqrt() } else { 1.0 };
        let group = heads / shared;
        let mixed = if !self.fused {
            // Heads that share keys and values form one long list of queries.
            let queries = queries.f_reshape([batch * shared, group * length, size])?;
            let keys = keys.f_reshape([batch * shared, seen, size])?;
            let values = values.f_reshape([batch * shared, seen, size])?;
            let transposed = keys.f_transpose(1, 2)?;
            let scores = match (self.spec.caps.attention, &mask.added) {
                // mask + queries · keysᵀ · scale in one product.
                (None, Some(added)) => added.f_baddbmm(&queries, &transposed, 1.0, scale)?,
                (None, None) => queries.f_bmm(&transposed)?.f_mul_scalar(scale)?,
                (Some(cap), added) => {
                    let scores = queries.f_bmm(&transposed)?.f_mul_scalar(scale)?;
                    let bounded = soft_cap(&scores, cap)?;
                    added
                        .as_ref()
                        .map_or(Ok(bounded.shallow_clone()), |added| added.f_add(&bounded))?
                }
            };
            scores.f_softmax(-1, Kind::Float)?.f_bmm(&values)?
        } else if mask.causal && group > 1 {
            // The kernel skips keys that a causal mask hides. That outweighs repeating keys and
            // values.
            let repeated = |x: &Tensor| {
                let all = x.f_unsqueeze(2)?.f_expand([batch, shared, group, seen, size], false)?;
                all.f_reshape([batch, heads, seen, size])
            };
            fused_attention(queries, &repeated(&keys)?, &repeated(&values)?, None, true, scale)?
        } else {
            let queries = queries.f_reshape([batch, shared, group * length, size])?;
            fused_attention(&queries, &keys, &values, mask.added.as_ref(), mask.causal, scale)?
        };
        let joined = mixed.f_reshape([batch, heads, length, size])?.f_transpose(1, 2)?;
        Ok(joined.f_reshape([batch * length, heads * size])?)
    }
}

fn fused_attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    mask: Option<&Tensor>,
    causal: bool,
    scale: f64,
) -> Result<Tensor, tch::TchError> {
    Tensor::f_scaled_dot_product_attention(queries, keys, values, mask, 0.0, causal, scale, false)
}

/// Rotates `x`, if there is a rotation.
fn rotated(rotary: Option<&RotaryTable>, x: Tensor) -> Result<Tensor, Error> {
    rotary.map_or(Ok(x.shallow_clone()), |rotary| rotary.rotate(&x))
}

/// Splits `x` along dimension 2, the heads.
fn split_heads<const N: usize>(x: &Tensor, heads: [i64; N]) -> Result<[Tensor; N], Error> {
    let parts = x.f_split_with_sizes(heads, 2)?;
    parts.try_into().map_err(|parts: Vec<Tensor>| Error::Length { expected: N, found: parts.len() })
}

impl Mask {
    fn new(
        length: i64,
        past: i64,
        window: Option<i64>,
        group: i64,
        fused: bool,
        device: Device,
    ) -> Result<Self, Error> {
        // The first query is token `past`.
        let first = window.map_or(0, |window| (past + 1 - window).max(0));
        let (seen, past) = (past + length - first, past - first);
        let window = window.filter(|&window| window < seen);
        let all_seen = length == 1 && window.is_none();
        let causal = past == 0 && window.is_none() && !all_seen;
        let added = if all_seen || (causal && fused) {
            None
        } else {
            let hidden =
                Tensor::f_full([1, length, seen], f64::NEG_INFINITY, (Kind::Float, device))?;
            let later = hidden.f_triu(past + 1)?;
            let mask = match window {
                Some(window) => later.f_add(&hidden.f_tril(past - window)?)?,
                None => later,
            };
            Some(if group > 1 { mask.f_repeat([1, group, 1])? } else { mask })
        };
        Ok(Self { first, causal, added })
    }
}
