// SPDX-License-Identifier: Apache-2.0

use pol_primitives::rewrite::{EXPERT_NAMES, Rewrite};

/// Returns the names of the experts of a model made by `rewrites`, applied in order.
///
/// The first experts have the names of [`EXPERT_NAMES`], further ones are numbered. A copy has the
/// name of its original and one more prime.
pub fn expert_names(rewrites: &[Rewrite]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for rewrite in rewrites {
        match *rewrite {
            Rewrite::Upcycle { experts } => {
                let name = |index: usize| {
                    EXPERT_NAMES.get(index).map_or_else(|| index.to_string(), |&name| name.into())
                };
                names = (0..experts.count.into()).map(name).collect();
            }
            Rewrite::AddExpert { like: expert } | Rewrite::SplitExpert { expert } => {
                let copy = names.get(usize::from(expert)).map(|name| format!("{name}'"));
                names.extend(copy);
            }
            Rewrite::PruneExpert { expert } if usize::from(expert) < names.len() => {
                names.remove(expert.into());
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::model::Experts;

    #[test]
    fn experts_have_names() {
        let upcycle = |count| Rewrite::Upcycle { experts: Experts::new(count, 2) };
        assert_eq!(expert_names(&[upcycle(5)]), EXPERT_NAMES);
        assert_eq!(expert_names(&[upcycle(6)])[5], "5");
        let history = [
            upcycle(5),
            Rewrite::SplitExpert { expert: 1 },
            Rewrite::PruneExpert { expert: 0 },
            Rewrite::InsertBlock { at: 0 },
        ];
        assert_eq!(
            expert_names(&history),
            ["mathematics", "code", "reasoning", "memory", "mathematics'"]
        );
        assert_eq!(
            expert_names(&[Rewrite::AddExpert { like: 1 }, Rewrite::PruneExpert { expert: 1 }]),
            Vec::<String>::new()
        );
    }
}
