use crate::{Error, Layout};
use tch::{Device, Tensor};

/// A model's parameters as tensors, for one thread.
#[derive(Debug)]
pub struct Weights {
    tensors: Vec<Tensor>,
}

impl Weights {
    /// Cuts the tensors of `layout` out of `flat`, copying it once.
    pub fn new(layout: &Layout, flat: &[f32]) -> Result<Self, Error> {
        Self::on(layout, flat, Device::Cpu)
    }

    /// The same in the memory of `device`, where whatever uses these weights is computed.
    pub fn on(layout: &Layout, flat: &[f32], device: Device) -> Result<Self, Error> {
        if flat.len() != layout.len() {
            return Err(Error::Length { expected: layout.len(), found: flat.len() });
        }
        let tensors = layout.tensors().iter().map(|slot| {
            let shape: Vec<i64> = slot.parameter.shape.iter().copied().map(i64::from).collect();
            Ok(Tensor::f_from_slice(&flat[slot.range()])?.f_view(shape.as_slice())?.f_to(device)?)
        });
        Ok(Self { tensors: tensors.collect::<Result<_, Error>>()? })
    }

    /// The same values in the same memory for another thread, with a gradient of their own when they are `trainable`.
    pub fn share(&self, trainable: bool) -> Result<Self, Error> {
        let tensors = self.tensors.iter().map(|tensor| Ok(tensor.f_detach()?.f_set_requires_grad(trainable)?));
        Ok(Self { tensors: tensors.collect::<Result<_, Error>>()? })
    }

    /// Writes the gradient of the scalar `loss`, which these weights (trainable) led to, into `flat` in canonical order.
    /// It is zero where `loss` does not depend on a tensor, such as one of an expert without tokens. The graph behind `loss` is freed.
    pub fn gradient(&self, loss: &Tensor, flat: &mut [f32]) -> Result<(), Error> {
        let gradients = Tensor::f_run_backward(&[loss], &self.tensors, false, false)?;
        let (expected, mut found, mut rest) = (flat.len(), 0, flat);
        for (tensor, gradient) in self.tensors.iter().zip(gradients) {
            let len = tensor.numel();
            found += len;
            let (slot, after) = rest.split_at_mut_checked(len).ok_or(Error::Length { expected, found })?;
            if gradient.defined() {
                gradient.f_copy_data(slot, len)?;
            } else {
                slot.fill(0.0);
            }
            rest = after;
        }
        if rest.is_empty() { Ok(()) } else { Err(Error::Length { expected, found }) }
    }

    /// The tensors in canonical order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}
