use crate::{Error, Layout};
use tch::{Device, Kind, Tensor};

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

    /// Puts the values of `flat`, of the layout that these were cut by, in the place of these. All
    /// that [share](Self::share) their memory change too.
    pub fn refresh(&mut self, flat: &[f32]) -> Result<(), Error> {
        let expected = self.tensors.iter().map(Tensor::numel).sum();
        if flat.len() != expected {
            return Err(Error::Length { expected, found: flat.len() });
        }
        let mut rest = flat;
        for tensor in &mut self.tensors {
            let (values, after) = rest.split_at(tensor.numel());
            // SAFETY: the view of `values` is read while they are borrowed, and dropped at once.
            let values = unsafe { view(values.as_ptr(), &tensor.size()) }?;
            tensor.f_copy_(&values)?;
            rest = after;
        }
        Ok(())
    }

    /// The same values in the same memory for another thread, with a gradient of their own when
    /// they are `trainable`.
    pub fn share(&self, trainable: bool) -> Result<Self, Error> {
        let tensors = self
            .tensors
            .iter()
            .map(|tensor| Ok(tensor.f_detach()?.f_set_requires_grad(trainable)?));
        Ok(Self { tensors: tensors.collect::<Result<_, Error>>()? })
    }

    /// Writes the gradient of the scalar `loss`, which these weights (trainable) led to, into
    /// `flat` in canonical order. It is zero where `loss` does not depend on a tensor, such as one
    /// of an expert without tokens. The graph behind `loss` is freed.
    pub fn gradient(&self, loss: &Tensor, flat: &mut [f32]) -> Result<(), Error> {
        let gradients = Tensor::f_run_backward(&[loss], &self.tensors, false, false)?;
        let (expected, mut found, mut rest) = (flat.len(), 0, flat);
        for (tensor, gradient) in self.tensors.iter().zip(gradients) {
            let len = tensor.numel();
            found += len;
            let (slot, after) =
                rest.split_at_mut_checked(len).ok_or(Error::Length { expected, found })?;
            if gradient.defined() {
                // SAFETY: the view of `slot` is written to while it is borrowed for that, and
                // dropped at once.
                unsafe { view(slot.as_mut_ptr(), &tensor.size()) }?.f_copy_(&gradient)?;
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

/// A tensor of `shape` in memory that it does not own, which libtorch copies from and to with all
/// its threads.
///
/// # Safety
///
/// From `values` on there must be as many as the shape has for as long as the tensor is used,
/// borrowed for what it is used for.
unsafe fn view(values: *const f32, shape: &[i64]) -> Result<Tensor, Error> {
    let strides: Vec<i64> = (1..=shape.len()).map(|next| shape[next..].iter().product()).collect();
    // SAFETY: as the caller promises; the strides are those of values that lie one after the other.
    Ok(unsafe { Tensor::f_from_blob(values.cast(), shape, &strides, Kind::Float, Device::Cpu) }?)
}
