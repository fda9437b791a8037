//! Causal attention of every family, written out or fused.

use crate::{Error, parts::Projection};
use pol_primitives::model::{ModelSpec, Positions};
use tch::{Device, Kind, Tensor};

/// What the attention of all blocks shares while they read the same tokens.
#[derive(Debug)]
pub(crate) struct Attention {
    spec: ModelSpec,
    fused: bool,
    batch: i64,
    length: i64,
    /// Tokens read before, whose keys and values are in a cache.
    past: i64,
    rotary: Option<Rotary>,
    /// Masks of blocks that see everything, and of local ones.
    masks: [Mask; 2],
}

/// What a block of queries may see.
#[derive(Debug)]
struct Mask {
    /// Keys before this one are seen by none of the queries.
    first: i64,
    /// The queries are all tokens, and each sees all before it and itself.
    causal: bool,
    /// What is added to scores, `[1, group · length, keys]`: minus infinity where a key is not
    /// seen. None where all are.
    added: Option<Tensor>,
}

/// Sines and cosines of the angles that queries and keys are turned by,
/// `[length, 1, dimensions / 2]`.
#[derive(Debug)]
struct Rotary {
    cosines: Tensor,
    sines: Tensor,
    dimensions: i64,
    interleaved: bool,
}

impl Attention {
    /// For `length` tokens in each of `batch` rows, after `past` that a cache holds.
    pub(crate) fn new(
        spec: &ModelSpec,
        fused: bool,
        batch: i64,
        length: i64,
        past: i64,
        device: Device,
    ) -> Result<Self, Error> {
        let rotary = match spec.positions {
            Positions::Learned => None,
            Positions::Rotary { dimensions, base, interleaved } => {
                Some(Rotary::new(dimensions, base, interleaved, past..past + length, device)?)
            }
        };
        let group = i64::from(spec.heads / spec.key_value_heads);
        let mask = |window: Option<i64>| Mask::new(length, past, window, group, fused, device);
        let window = spec.local.map(|local| i64::from(local.window));
        Ok(Self {
            spec: *spec,
            fused,
            batch,
            length,
            past,
            rotary,
            masks: [mask(None)?, mask(window)?],
        })
    }

    /// Queries, keys and values of what a block's first norm gave, `normed`
    /// `[batch · length, width]`. Each is `[batch, heads, length, head size]`, with fewer heads for
    /// keys and values where they are shared.
    pub(crate) fn project(
        &self,
        projection: &Projection<'_>,
        normed: &Tensor,
    ) -> Result<[Tensor; 3], Error> {
        let [heads, shared, _] = self.heads();
        let parts = self.by_head(&projection.apply(normed)?, heads + 2 * shared)?;
        let [queries, keys, values] = match &self.rotary {
            None => split(&parts, [heads, shared, shared])?,
            Some(rotary) => {
                let [turned, values] = split(&parts, [heads + shared, shared])?;
                let [queries, keys] = split(&rotary.turn(&turned)?, [heads, shared])?;
                [queries, keys, values]
            }
        };
        Ok([queries.f_transpose(1, 2)?, keys.f_transpose(1, 2)?, values.f_transpose(1, 2)?])
    }

    /// The queries alone.
    pub(crate) fn queries(
        &self,
        projection: &Projection<'_>,
        normed: &Tensor,
    ) -> Result<Tensor, Error> {
        let [heads, _, size] = self.heads();
        let weight = projection.weight.f_narrow(1, 0, heads * size)?;
        let bias = projection.bias.map(|bias| bias.f_narrow(0, 0, heads * size)).transpose()?;
        let queries = Projection { weight: &weight, bias: bias.as_ref() }.apply(normed)?;
        let queries = self.by_head(&queries, heads)?;
        let turned = self.rotary.as_ref().map(|rotary| rotary.turn(&queries)).transpose()?;
        Ok(turned.unwrap_or(queries).f_transpose(1, 2)?)
    }

    fn heads(&self) -> [i64; 3] {
        [self.spec.heads, self.spec.key_value_heads, self.spec.head_size].map(i64::from)
    }

    fn by_head(&self, projected: &Tensor, heads: i64) -> Result<Tensor, Error> {
        Ok(projected.f_view([self.batch, self.length, heads, self.spec.head_size.into()])?)
    }

    /// What `queries` of block `index` find in `keys` and `values` of all tokens up to them:
    /// `[batch · length, attention width]`.
    pub(crate) fn mix(
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
            // Heads that share keys and values are one long list of queries.
            let queries = queries.f_reshape([batch * shared, group * length, size])?;
            let keys = keys.f_reshape([batch * shared, seen, size])?;
            let values = values.f_reshape([batch * shared, seen, size])?;
            let transposed = keys.f_transpose(1, 2)?;
            let scores = match &mask.added {
                // mask + queries · keysᵀ · scale in one product.
                Some(added) => added.f_baddbmm(&queries, &transposed, 1.0, scale)?,
                None => queries.f_bmm(&transposed)?.f_mul_scalar(scale)?,
            };
            scores.f_softmax(-1, Kind::Float)?.f_bmm(&values)?
        } else if mask.causal && group > 1 {
            // The kernel skips what a causal mask hides, which is worth repeating keys and values.
            let repeated = |part: &Tensor| {
                let all =
                    part.f_unsqueeze(2)?.f_expand([batch, shared, group, seen, size], false)?;
                all.f_reshape([batch, heads, seen, size])
            };
            fused(queries, &repeated(&keys)?, &repeated(&values)?, None, true, scale)?
        } else {
            let queries = queries.f_reshape([batch, shared, group * length, size])?;
            fused(&queries, &keys, &values, mask.added.as_ref(), mask.causal, scale)?
        };
        let joined = mixed.f_reshape([batch, heads, length, size])?.f_transpose(1, 2)?;
        Ok(joined.f_reshape([batch * length, heads * size])?)
    }
}

/// libtorch's fused attention.
fn fused(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    mask: Option<&Tensor>,
    causal: bool,
    scale: f64,
) -> Result<Tensor, tch::TchError> {
    Tensor::f_scaled_dot_product_attention(queries, keys, values, mask, 0.0, causal, scale, false)
}

/// Cuts `x` along the heads, its dimension 2.
fn split<const N: usize>(x: &Tensor, heads: [i64; N]) -> Result<[Tensor; N], Error> {
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

impl Rotary {
    /// For tokens at `places`. Angles are computed by float64 arithmetic that is the same on every
    /// machine.
    fn new(
        dimensions: u16,
        base: u32,
        interleaved: bool,
        places: std::ops::Range<i64>,
        device: Device,
    ) -> Result<Self, Error> {
        let half = i64::from(dimensions / 2);
        let wavelengths = (0..half)
            .map(|pair| libm::pow(base.into(), -(2 * pair) as f64 / f64::from(dimensions)));
        let rates: Vec<f64> = wavelengths.collect();
        let length = places.end - places.start;
        let turns = places
            .flat_map(|place| rates.iter().map(move |rate| libm::sincos(place as f64 * rate)));
        let (sines, cosines): (Vec<f32>, Vec<f32>) =
            turns.map(|(sine, cosine)| (sine as f32, cosine as f32)).unzip();
        let table =
            |values: &[f32]| Tensor::f_from_slice(values)?.f_view([length, 1, half])?.f_to(device);
        Ok(Self {
            cosines: table(&cosines)?,
            sines: table(&sines)?,
            dimensions: dimensions.into(),
            interleaved,
        })
    }

    /// Turns `x` `[batch, length, heads, head size]`.
    fn turn(&self, x: &Tensor) -> Result<Tensor, Error> {
        let [batch, length, heads, size] = x.size()[..] else {
            return Err(Error::Length { expected: 4, found: x.dim() });
        };
        let half = self.dimensions / 2;
        let turned = x.f_narrow(3, 0, self.dimensions)?;
        // Pairs (a, b): neighbours, or one in each half.
        let (shape, pair) = if self.interleaved { ([half, 2], 4) } else { ([2, half], 3) };
        let pairs = turned.f_reshape([batch, length, heads, shape[0], shape[1]])?;
        let (a, b) = (pairs.f_select(pair, 0)?, pairs.f_select(pair, 1)?);
        let (cosines, sines) = (&self.cosines, &self.sines);
        let first = a.f_mul(cosines)?.f_sub(&b.f_mul(sines)?)?;
        let second = a.f_mul(sines)?.f_add(&b.f_mul(cosines)?)?;
        let turned = Tensor::f_stack(&[first, second], pair)?.f_reshape([
            batch,
            length,
            heads,
            self.dimensions,
        ])?;
        if self.dimensions == size {
            return Ok(turned);
        }
        Ok(Tensor::f_cat(&[turned, x.f_narrow(3, self.dimensions, size - self.dimensions)?], 3)?)
    }
}
