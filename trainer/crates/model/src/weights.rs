// SPDX-License-Identifier: Apache-2.0

use crate::{Error, Layout};
use tch::{Device, Kind, Tensor};

/// Parameters of a model as tensors, for use by one thread.
#[derive(Debug)]
pub struct Weights {
    tensors: Vec<Tensor>,
}

impl Weights {
    /// Copies the tensors of `layout` out of `flat` into main memory.
    ///
    /// # Errors
    ///
    /// Fails if `flat` has another length than `layout`, or if libtorch fails.
    pub fn new(layout: &Layout, flat: &[f32]) -> Result<Self, Error> {
        Self::on_device(layout, flat, Device::Cpu)
    }

    /// Copies the tensors of `layout` out of `flat` to `device`, which then computes with them.
    ///
    /// # Errors
    ///
    /// Fails if `flat` has another length than `layout`, or if libtorch fails.
    pub fn on_device(layout: &Layout, flat: &[f32], device: Device) -> Result<Self, Error> {
        if flat.len() != layout.len() {
            return Err(Error::Length { expected: layout.len(), found: flat.len() });
        }
        let tensors = layout.tensors().iter().map(|slot| {
            let shape: Vec<i64> = slot.parameter.shape.iter().copied().map(i64::from).collect();
            Ok(Tensor::f_from_slice(&flat[slot.range()])?.f_view(shape.as_slice())?.f_to(device)?)
        });
        Ok(Self { tensors: tensors.collect::<Result<_, Error>>()? })
    }

    /// Overwrites the values with those of `flat`, which has the same layout. Weights that
    /// [share](Self::share) the memory change too.
    ///
    /// # Errors
    ///
    /// Fails if `flat` has another length, or if libtorch fails.
    pub fn refresh(&mut self, flat: &[f32]) -> Result<(), Error> {
        let expected = self.tensors.iter().map(Tensor::numel).sum();
        if flat.len() != expected {
            return Err(Error::Length { expected, found: flat.len() });
        }
        let mut remaining = flat;
        for tensor in &mut self.tensors {
            let (values, after) = remaining.split_at(tensor.numel());
            // SAFETY: the view is only read while `values` is borrowed, and dropped right after.
            let values = unsafe { view(values.as_ptr(), &tensor.size()) }?;
            tensor.f_copy_(&values)?;
            remaining = after;
        }
        Ok(())
    }

    /// Returns the same values in the same memory for another thread. They have their own gradient
    /// if `trainable`.
    ///
    /// # Errors
    ///
    /// Fails if libtorch fails.
    pub fn share(&self, trainable: bool) -> Result<Self, Error> {
        let tensors = self
            .tensors
            .iter()
            .map(|tensor| Ok(tensor.f_detach()?.f_set_requires_grad(trainable)?));
        Ok(Self { tensors: tensors.collect::<Result<_, Error>>()? })
    }

    /// Computes the gradient of the scalar `loss` with respect to these trainable weights and
    /// writes it into `flat` in canonical order. Frees the graph of `loss`.
    ///
    /// The gradient is zero for tensors that `loss` does not depend on, such as those of an expert
    /// without tokens.
    ///
    /// # Errors
    ///
    /// Fails if `flat` has another length than these weights, or if libtorch fails.
    pub fn gradient(&self, loss: &Tensor, flat: &mut [f32]) -> Result<(), Error> {
        let gradients = Tensor::f_run_backward(&[loss], &self.tensors, false, false)?;
        let (expected, mut found, mut remaining) = (flat.len(), 0, flat);
        for (tensor, gradient) in self.tensors.iter().zip(gradients) {
            let len = tensor.numel();
            found += len;
            let (slot, after) =
                remaining.split_at_mut_checked(len).ok_or(Error::Length { expected, found })?;
            if gradient.defined() {
                // SAFETY: the view is only written while `slot` is mutably borrowed, and dropped
                // right after.
                unsafe { view(slot.as_mut_ptr(), &tensor.size()) }?.f_copy_(&gradient)?;
            } else {
                slot.fill(0.0);
            }
            remaining = after;
        }
        if remaining.is_empty() { Ok(()) } else { Err(Error::Length { expected, found }) }
    }

    /// Returns the tensors in canonical order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

/// Returns a tensor of `shape` in memory that it does not own. libtorch copies from and to it with
/// all its threads.
///
/// # Safety
///
/// `values` must point to as many values as the shape has, and they must stay borrowed, mutably if
/// the tensor is written to, for as long as the tensor is used.
unsafe fn view(values: *const f32, shape: &[i64]) -> Result<Tensor, Error> {
    let strides: Vec<i64> = (1..=shape.len()).map(|next| shape[next..].iter().product()).collect();
    // SAFETY: guaranteed by the caller; the strides are those of contiguous values.
    Ok(unsafe { Tensor::f_from_blob(values.cast(), shape, &strides, Kind::Float, Device::Cpu) }?)
}
