// SPDX-License-Identifier: Apache-2.0

//! Architectures and their parameters.
//!
//! A [`ModelSpec`] determines the parameters of a model completely, so that members with the same
//! specification hold the same parameters in the same order.

mod attention;
mod parameters;
mod rotation;
mod spec;
#[cfg(test)]
mod tests;
mod validation;

pub use attention::{NormPlacement, QueryKeyNorm, SoftCaps};
pub use parameters::{Init, Parameter};
pub use rotation::{OtherRotation, RotaryBase, RotaryScaling, Rotation, ScalingRamp};
pub use spec::{
    Activation, Biases, Experts, LocalAttention, Mind, ModelSpec, Norm, PositionEncoding,
    Superposition,
};
pub use validation::InvalidSpec;
