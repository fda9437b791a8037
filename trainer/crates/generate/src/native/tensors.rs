// SPDX-License-Identifier: Apache-2.0

//! Packed tensors of a model by name.

use super::{Normed, blocks::NR, matrix::Matrix};
use pol_primitives::model::{ModelSpec, Parameter};
use std::{collections::BTreeMap, iter::repeat_n};

/// Rows of the vocabulary that are read at once.
const VOCABULARY_ROWS: usize = 16 * NR;

/// Tensors of a model by name.
#[derive(Default)]
pub(super) struct PackedTensors {
    pub(super) matrices: BTreeMap<String, Matrix>,
    pub(super) vectors: BTreeMap<String, Vec<f32>>,
}

impl PackedTensors {
    /// Reads the parameters of `spec` in canonical order, and packs each tensor on `pool` before
    /// the next one is read. `read` fills a slice with its next values.
    pub(super) fn read<E>(
        spec: &ModelSpec,
        pool: &rayon::ThreadPool,
        read: &mut impl FnMut(&mut [f32]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut tensors = Self::default();
        // Memory of a tensor before it is packed.
        let mut values = Vec::new();
        for parameter in spec.parameters() {
            tensors.read_next(spec, &parameter, pool, read, &mut values)?;
        }
        Ok(tensors)
    }

    fn read_next<E>(
        &mut self,
        spec: &ModelSpec,
        parameter: &Parameter,
        pool: &rayon::ThreadPool,
        read: &mut impl FnMut(&mut [f32]) -> Result<(), E>,
        values: &mut Vec<f32>,
    ) -> Result<(), E> {
        match MatrixPart::of(parameter) {
            Some(MatrixPart { name, inputs, outputs, is_vocabulary: true }) => {
                let mut matrix = Matrix::new(inputs, [outputs]);
                for first in (0..outputs).step_by(VOCABULARY_ROWS) {
                    let rows = VOCABULARY_ROWS.min(outputs - first);
                    read(resized(values, rows * inputs))?;
                    pool.install(|| matrix.push_rows(values));
                }
                self.matrices.insert(name, matrix);
            }
            Some(MatrixPart { name, inputs, outputs, is_vocabulary: false }) => {
                read(resized(values, inputs * outputs))?;
                // Gates and what they gate have the same inputs, so they are one matrix.
                let tensors = if spec.gated && name.contains(".c_fc.") { 2 } else { 1 };
                let matrix = self
                    .matrices
                    .entry(name)
                    .or_insert_with(|| Matrix::new(inputs, repeat_n(outputs, tensors)));
                pool.install(|| matrix.push_columns(values));
            }
            None => {
                let mut values = vec![0.0; parameter.len()];
                read(&mut values)?;
                self.vectors.insert(parameter.name.clone(), values);
            }
        }
        Ok(())
    }

    /// Takes a vector; empty if the model lacks it.
    pub(super) fn vector(&mut self, name: &str) -> Vec<f32> {
        self.vectors.remove(name).unwrap_or_default()
    }

    /// Takes a matrix with its bias. It has no outputs if the model lacks it.
    pub(super) fn matrix(&mut self, name: &str) -> Matrix {
        let matrix = self.matrices.remove(&format!("{name}.weight"));
        let mut bias = self.vector(&format!("{}.bias", name.replace(".c_fc", ".c_gate")));
        if name.ends_with(".c_fc") {
            bias.append(&mut self.vector(&format!("{name}.bias")));
        }
        matrix.unwrap_or_else(|| Matrix::new(1, [])).with_bias(bias)
    }

    pub(super) fn norm(&mut self, name: &str) -> Normed {
        let [weight, bias] = ["weight", "bias"].map(|part| self.vector(&format!("{name}.{part}")));
        Normed { weight, bias }
    }
}

/// Part of a packed matrix that a parameter is.
pub(super) struct MatrixPart {
    /// Name of the matrix, which holds several parameters if they are multiplied together.
    pub(super) name: String,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Set if the parameter has a row for each token, and not for each input.
    is_vocabulary: bool,
}

impl MatrixPart {
    /// Returns the part that `parameter` is; `None` if it is kept as a vector.
    pub(super) fn of(parameter: &Parameter) -> Option<Self> {
        let name = parameter.name.as_str();
        let &[rows, columns] = &parameter.shape[..] else { return None };
        let (rows, columns) = (rows as usize, columns as usize);
        match name {
            "wpe.weight" => None,
            "wte.weight" | "lm_head.weight" => Some(Self {
                name: name.to_owned(),
                inputs: columns,
                outputs: rows,
                is_vocabulary: true,
            }),
            _ => Some(Self {
                name: name.replace(".c_gate.", ".c_fc."),
                inputs: rows,
                outputs: columns,
                is_vocabulary: false,
            }),
        }
    }
}

/// Returns `values` with `len` values, in no more memory than the most that it ever had.
fn resized(values: &mut Vec<f32>, len: usize) -> &mut [f32] {
    values.clear();
    values.reserve_exact(len);
    values.resize(len, 0.0);
    values
}
