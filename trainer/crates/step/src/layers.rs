// SPDX-License-Identifier: Apache-2.0

//! Layers, forward and backward, as calls of kernels.

use crate::{
    Error,
    plan::{Linear, NormPart, Plan},
};
use pol_kernels::{Extras, Kernels, RotaryTable, Scratch};
use pol_numerics::{
    Angles, Attention, AttentionPart, Broadcast, Chain, Element, Function, Norm, NormKind, Product,
    Ramp, Rotation, Scaling,
};
use pol_primitives::model::{self, ModelSpec, RotaryScaling, ScalingRamp, SoftCaps};

/// A run over one micro-batch.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) kernels: Kernels,
    pub(crate) tables: &'a [RotaryTable],
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) parameters: &'a [f32],
    pub(crate) sequences: u32,
    pub(crate) length: u32,
    /// Set for the gradient of the training objective, not for that of the loss alone.
    pub(crate) has_auxiliary: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn spec(&self) -> &'a ModelSpec {
        &self.plan.spec
    }

    pub(crate) fn tokens(&self) -> u32 {
        self.sequences * self.length
    }

    /// Computes `addend + (x · weight + bias)`.
    pub(crate) fn linear(
        &mut self,
        linear: &Linear,
        x: &[f32],
        addend: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let bias = linear.bias.clone().map(|bias| &self.parameters[bias]);
        let weight = &self.parameters[linear.weight.clone()];
        let extras = Extras { bias, addend, continues: false };
        self.project([linear.inputs, linear.outputs], x, weight, extras, out)
    }

    /// Computes `x · weight`, and more, for a weight of `[inputs, outputs]`.
    pub(crate) fn project(
        &mut self,
        [inner, columns]: [u32; 2],
        x: &[f32],
        weight: &[f32],
        extras: Extras<'_>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let shape = Product {
            rows: rows_of(x, inner),
            inner,
            columns,
            left_transposed: false,
            right_transposed: false,
            bias: extras.bias.is_some(),
        };
        Ok(self.kernels.product_with(&shape, x, weight, extras, out, self.scratch)?)
    }

    /// Computes the gradients of weight and bias of a projection of `x`, whose outputs have the
    /// gradient `dy`, and `addend` plus the gradient of `x`.
    pub(crate) fn linear_gradient(
        &mut self,
        linear: &Linear,
        [x, dy]: [&[f32]; 2],
        gradient: &mut [f32],
        addend: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.parameter_gradient(linear, [x, dy], gradient)?;
        let weight = &self.parameters[linear.weight.clone()];
        self.project_back([linear.inputs, linear.outputs], dy, weight, addend, out)
    }

    /// Computes the gradients of weight and bias of a projection of `x`, whose outputs have the
    /// gradient `dy`.
    pub(crate) fn parameter_gradient(
        &mut self,
        linear: &Linear,
        [x, dy]: [&[f32]; 2],
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let Linear { inputs, outputs, .. } = *linear;
        let weight = &mut gradient[linear.weight.clone()];
        self.outer_product([inputs, outputs], [x, dy], false, weight)?;
        match linear.bias.clone() {
            Some(bias) => self.column_sums(outputs, dy, &mut gradient[bias]),
            None => Ok(()),
        }
    }

    /// Computes `xᵀ · dy`, the gradient of a weight of `[inputs, outputs]`. With `continues`, `out`
    /// has that of earlier rows.
    pub(crate) fn outer_product(
        &mut self,
        [rows, columns]: [u32; 2],
        [x, dy]: [&[f32]; 2],
        continues: bool,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let shape = Product {
            rows,
            inner: rows_of(x, rows),
            columns,
            left_transposed: true,
            right_transposed: false,
            bias: false,
        };
        let extras = Extras { continues, ..Extras::default() };
        Ok(self.kernels.product_with(&shape, x, dy, extras, out, self.scratch)?)
    }

    /// Computes `addend + dy · weightᵀ` for a weight of `[inputs, outputs]`.
    pub(crate) fn project_back(
        &mut self,
        [columns, inner]: [u32; 2],
        dy: &[f32],
        weight: &[f32],
        addend: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let shape = Product {
            rows: rows_of(dy, inner),
            inner,
            columns,
            left_transposed: false,
            right_transposed: true,
            bias: false,
        };
        let extras = Extras { addend, ..Extras::default() };
        Ok(self.kernels.product_with(&shape, dy, weight, extras, out, self.scratch)?)
    }

    /// Computes a function of each element, in rows of `columns`.
    pub(crate) fn element<const N: usize>(
        &self,
        function: Function,
        columns: u32,
        operands: [(Broadcast, &[f32]); N],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let operand = |index: usize| operands.get(index).copied();
        let broadcast = |index| operand(index).map_or(Broadcast::One, |(broadcast, _)| broadcast);
        let shape = Element {
            function,
            rows: rows_of(out, columns),
            columns,
            operands: [0, 1, 2].map(broadcast),
        };
        let values = [0, 1, 2].map(|index| operand(index).map(|(_, values)| values));
        Ok(self.kernels.element(&shape, values, out)?)
    }

    /// Sums the columns of `rows`.
    pub(crate) fn column_sums(
        &self,
        width: u32,
        rows: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let length = rows_of(rows, width);
        let chain = Chain { outer: 1, length, inner: width, weighted: false };
        Ok(self.kernels.chain(&chain, rows, None, out)?)
    }

    fn norm_shape(&self, part: &NormPart, values: &[f32]) -> Norm {
        let norm = self.spec().norm;
        Norm {
            rows: rows_of(values, part.width),
            width: part.width,
            kind: match norm {
                model::Norm::Layer { .. } => NormKind::Layer,
                model::Norm::Rms { .. } => NormKind::MeanSquare,
            },
            epsilon: ((f64::from(norm.epsilon()) / 1e9) as f32).to_bits(),
            weight: true,
            bias: part.bias.is_some(),
        }
    }

    /// Norms rows of `x`, and keeps their statistics.
    pub(crate) fn norm(
        &self,
        part: &NormPart,
        x: &[f32],
        statistics: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let shape = self.norm_shape(part, x);
        self.kernels.norm_statistics(&shape, x, statistics)?;
        let weight = Some(&self.parameters[part.weight.clone()]);
        let bias = part.bias.clone().map(|bias| &self.parameters[bias]);
        Ok(self.kernels.norm(&shape, x, statistics, weight, bias, out)?)
    }

    /// Computes the gradients of a norm's parameters, and that of its inputs `x`.
    pub(crate) fn norm_gradient(
        &self,
        part: &NormPart,
        [x, dy]: [&[f32]; 2],
        statistics: &[f32],
        gradient: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let shape = self.norm_shape(part, x);
        let weight = &mut gradient[part.weight.clone()];
        self.kernels.norm_weight_gradient(&shape, dy, x, statistics, weight)?;
        if let Some(bias) = part.bias.clone() {
            self.column_sums(part.width, dy, &mut gradient[bias])?;
        }
        let weight = Some(&self.parameters[part.weight.clone()]);
        Ok(self.kernels.norm_gradient(&shape, dy, x, statistics, weight, out)?)
    }

    pub(crate) fn attention(&self, window: Option<u32>) -> Attention {
        let ModelSpec { heads, key_value_heads, head_size, scaled, caps, .. } = *self.spec();
        let scale = if scaled { 1.0 / f64::from(head_size).sqrt() } else { 1.0 };
        Attention {
            part: AttentionPart::Output,
            length: self.length,
            heads: heads.into(),
            shared: key_value_heads.into(),
            size: head_size.into(),
            window,
            scale: (scale as f32).to_bits(),
            cap: caps.attention.map(|cap| bound(cap).to_bits()),
        }
    }

    /// Rotates queries and keys, or their gradients back.
    pub(crate) fn rotate(
        &self,
        rotation: Option<model::Rotation>,
        inverse: bool,
        projected: &mut [f32],
    ) -> Result<(), Error> {
        let ModelSpec { heads, key_value_heads, .. } = *self.spec();
        let heads = u32::from(heads) + u32::from(key_value_heads);
        self.rotate_heads(
            rotation,
            inverse,
            [heads, self.spec().query_key_value_width()],
            projected,
        )
    }

    /// Rotates queries that lie alone, or their gradients back.
    pub(crate) fn rotate_queries(
        &self,
        rotation: Option<model::Rotation>,
        inverse: bool,
        queries: &mut [f32],
    ) -> Result<(), Error> {
        let shape = [self.spec().heads.into(), self.spec().attention_width()];
        self.rotate_heads(rotation, inverse, shape, queries)
    }

    /// Rotates the leading heads of rows of some width.
    fn rotate_heads(
        &self,
        rotation: Option<model::Rotation>,
        inverse: bool,
        [heads, width]: [u32; 2],
        rows: &mut [f32],
    ) -> Result<(), Error> {
        let Some(rotation) = rotation else {
            return Ok(());
        };
        let shape = Rotation {
            length: self.length,
            heads,
            size: self.spec().head_size.into(),
            angles: angles(&rotation),
            interleaved: rotation.interleaved,
            inverse,
        };
        let table = self.tables.iter().find(|table| table.angles() == shape.angles);
        let table = table.ok_or(pol_kernels::Error::Angles)?;
        Ok(self.kernels.rotate(&shape, table, width, rows)?)
    }
}

/// Returns the number of rows.
pub(crate) fn rows_of(values: &[f32], width: u32) -> u32 {
    (values.len() / width.max(1) as usize) as u32
}

/// Returns a bound of a specification as a number.
pub(crate) fn bound(cap: u32) -> f32 {
    (f64::from(cap) / f64::from(SoftCaps::UNIT)) as f32
}

/// Returns the angles of a rotation. Both sides count in the same units.
pub(crate) fn angles(rotation: &model::Rotation) -> Angles {
    let scaling = rotation.scaling.map(|RotaryScaling { factor, ramp, amplitude }| {
        let ramp = match ramp {
            ScalingRamp::All => Ramp::All,
            ScalingRamp::Wavelengths { short, long } => Ramp::Wavelengths { short, long },
            ScalingRamp::Pairs { first, last } => Ramp::Pairs { first, last },
        };
        Scaling { factor, ramp, amplitude }
    });
    Angles { dimensions: rotation.dimensions.into(), base: rotation.base, scaling }
}

/// Copies `out.len() / rows` values of each row, from value `first` on.
pub(crate) fn gather(values: &[f32], width: usize, first: usize, out: &mut [f32]) {
    let part = out.len() / (values.len() / width).max(1);
    for (row, out) in values.chunks(width).zip(out.chunks_mut(part.max(1))) {
        out.copy_from_slice(&row[first..first + part]);
    }
}

/// Copies values into each row, from value `first` on: the inverse of [`gather`].
pub(crate) fn scatter(values: &[f32], width: usize, first: usize, out: &mut [f32]) {
    let part = values.len() / (out.len() / width).max(1);
    for (values, row) in values.chunks(part.max(1)).zip(out.chunks_mut(width)) {
        row[first..first + part].copy_from_slice(values);
    }
}
