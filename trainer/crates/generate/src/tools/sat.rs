// SPDX-License-Identifier: Apache-2.0

//! Propositional satisfiability.

use super::{Input, ToolError};
use batsat::{Callbacks, ClauseKind, Lit, Solver, SolverInterface, SolverOpts, lbool};

/// Number of learned clauses after which the search gives up.
const MOST_LEARNT: u64 = 20_000;

/// Counter of learned clauses, which measure the work of the search.
#[derive(Default)]
struct Work {
    learnt: u64,
}

impl Callbacks for Work {
    fn on_new_clause(&mut self, _: &[Lit], kind: ClauseKind) {
        self.learnt += u64::from(matches!(kind, ClauseKind::Learnt));
    }

    fn stop(&self) -> bool {
        self.learnt > MOST_LEARNT
    }
}

/// Formula under construction. Every part has an equivalent literal (Tseitin 1968, "On the
/// Complexity of Derivation in Propositional Calculus").
struct Formula<'a> {
    input: Input<'a>,
    solver: Solver<Work>,
    names: Vec<(&'a str, Lit)>,
}

/// Decides if some values of the names make `text` true, and returns such values.
pub(super) fn solve(text: &str) -> Result<String, ToolError> {
    let solver = Solver::new(SolverOpts::default(), Work::default());
    let mut formula = Formula { input: Input::new(text), solver, names: Vec::new() };
    let whole = formula.equivalence()?;
    formula.input.end("an operator or the end")?;
    formula.clause(&[whole]);
    let found = formula.solver.solve_limited(&[]);
    if found == lbool::FALSE {
        return Ok("unsatisfiable".into());
    }
    if found != lbool::TRUE {
        return Err(ToolError::TooLarge("the search"));
    }
    let values = formula.names.iter().map(|&(name, literal)| {
        // A name that does not matter is reported as false.
        format!("{name}={}", formula.solver.value_lit(literal) == lbool::TRUE)
    });
    let values: Vec<String> = values.collect();
    Ok(if values.is_empty() {
        "satisfiable".into()
    } else {
        format!("satisfiable: {}", values.join(", "))
    })
}

impl<'a> Formula<'a> {
    fn fresh(&mut self) -> Lit {
        Lit::new(self.solver.new_var_default(), true)
    }

    fn clause(&mut self, literals: &[Lit]) {
        self.solver.add_clause_reuse(&mut literals.to_vec());
    }

    fn and(&mut self, a: Lit, b: Lit) -> Lit {
        let both = self.fresh();
        for clause in [&[!both, a][..], &[!both, b], &[both, !a, !b]] {
            self.clause(clause);
        }
        both
    }

    fn or(&mut self, a: Lit, b: Lit) -> Lit {
        !self.and(!a, !b)
    }

    fn differ(&mut self, a: Lit, b: Lit) -> Lit {
        let differ = self.fresh();
        for clause in [[!differ, a, b], [!differ, !a, !b], [differ, !a, b], [differ, a, !b]] {
            self.clause(&clause);
        }
        differ
    }

    /// Parses equivalences, which bind weakest.
    fn equivalence(&mut self) -> Result<Lit, ToolError> {
        let mut value = self.implication()?;
        while self.input.take(&["<->", "<=>", "↔", "iff"]) {
            let other = self.implication()?;
            value = !self.differ(value, other);
        }
        Ok(value)
    }

    /// Parses implications, which associate to the right.
    fn implication(&mut self) -> Result<Lit, ToolError> {
        let value = self.disjunction()?;
        if self.input.take(&["->", "=>", "→", "implies"]) {
            let then = self.nested(Self::implication)?;
            return Ok(self.or(!value, then));
        }
        Ok(value)
    }

    fn disjunction(&mut self) -> Result<Lit, ToolError> {
        let mut value = self.exclusion()?;
        while self.input.take(&["||", "|", "∨", "or"]) {
            let other = self.exclusion()?;
            value = self.or(value, other);
        }
        Ok(value)
    }

    fn exclusion(&mut self) -> Result<Lit, ToolError> {
        let mut value = self.conjunction()?;
        while self.input.take(&["xor", "⊕", "^"]) {
            let other = self.conjunction()?;
            value = self.differ(value, other);
        }
        Ok(value)
    }

    fn conjunction(&mut self) -> Result<Lit, ToolError> {
        let mut value = self.operand()?;
        while self.input.take(&["&&", "&", "∧", "and"]) {
            let other = self.operand()?;
            value = self.and(value, other);
        }
        Ok(value)
    }

    fn operand(&mut self) -> Result<Lit, ToolError> {
        if self.input.take(&["not", "!", "~", "¬", "-"]) {
            return Ok(!self.nested(Self::operand)?);
        }
        if self.input.take(&["("]) {
            let value = self.nested(Self::equivalence)?;
            return if self.input.take(&[")"]) {
                Ok(value)
            } else {
                Err(self.input.expected("an operator or ')'"))
            };
        }
        let constant = self.input.take(&["true"]);
        if constant || self.input.take(&["false"]) {
            let value = self.fresh();
            self.clause(&[value]);
            return Ok(if constant { value } else { !value });
        }
        let start = self.input.rest;
        let name = self.input.span(|letter| letter.is_alphanumeric() || letter == '_');
        if name.is_empty() || ["and", "or", "xor", "implies", "iff"].contains(&name) {
            self.input.rest = start;
            return Err(self.input.expected("a name, 'not' or '('"));
        }
        if let Some(&(_, literal)) = self.names.iter().find(|known| known.0 == name) {
            return Ok(literal);
        }
        let literal = self.fresh();
        self.names.push((name, literal));
        Ok(literal)
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Lit, ToolError>,
    ) -> Result<Lit, ToolError> {
        self.input.enter()?;
        let value = read(self);
        self.input.leave();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn formulas_are_decided() {
        for (text, result) in [
            ("(a or b) and not a", "satisfiable: a=false, b=true"),
            ("a and not a", "unsatisfiable"),
            ("true", "satisfiable"),
            ("false", "unsatisfiable"),
            ("!a & ~b & ¬c", "satisfiable: a=false, b=false, c=false"),
            ("a -> b -> c <-> (a and b -> c)", "satisfiable"),
            ("not ((a -> b) iff (not b -> not a))", "unsatisfiable"),
            ("(a xor b) and (a <-> b)", "unsatisfiable"),
            ("a xor b xor c and false", "satisfiable"),
            ("nothing and x_1", "satisfiable: nothing=true, x_1=true"),
            // "or" binds weaker than "and".
            ("not (true or false and false)", "unsatisfiable"),
        ] {
            assert!(solve(text).unwrap().starts_with(result), "{text}: {:?}", solve(text));
        }
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for text in ["", "a b", "a and", "(a", "a)", "and", "a or or b", "a + b"] {
            assert!(matches!(solve(text), Err(ToolError::Syntax { .. })), "{text}");
        }
        assert_eq!(solve(&"!".repeat(300)), Err(ToolError::TooLarge("the nesting")));
    }

    /// Eleven pigeons do not fit into ten holes, and resolution takes long to find out.
    #[test]
    fn work_is_bounded() {
        let name = |pigeon: u32, hole: u32| {
            char::from_u32(0x4e00 + pigeon * 10 + hole).unwrap().to_string()
        };
        let any = |parts: Vec<String>, by: &str| format!("({})", parts.join(by));
        let mut parts: Vec<String> =
            (0..11).map(|p| any((0..10).map(|h| name(p, h)).collect(), "|")).collect();
        for hole in 0..10 {
            for a in 0..11 {
                parts.extend((0..a).map(|b| format!("!({}&{})", name(a, hole), name(b, hole))));
            }
        }
        // Longer than a model may ask: only the bound on the search is left.
        assert_eq!(solve(&parts.join("&")), Err(ToolError::TooLarge("the search")));
    }

    #[derive(Clone, Debug)]
    enum Tree {
        Name(u8),
        Not(Box<Tree>),
        Two(&'static str, Box<Tree>, Box<Tree>),
    }

    fn tree() -> impl Strategy<Value = Tree> {
        (0u8..4).prop_map(Tree::Name).prop_recursive(4, 24, 2, |inner| {
            let operator = prop::sample::select(vec!["and", "or", "xor", "->", "<->"]);
            prop_oneof![
                inner.clone().prop_map(|tree| Tree::Not(tree.into())),
                (operator, inner.clone(), inner).prop_map(|(by, a, b)| Tree::Two(
                    by,
                    a.into(),
                    b.into()
                )),
            ]
        })
    }

    impl Tree {
        fn text(&self) -> String {
            match self {
                Self::Name(name) => format!("v{name}"),
                Self::Not(tree) => format!("not {}", tree.text()),
                Self::Two(by, a, b) => format!("({} {by} {})", a.text(), b.text()),
            }
        }

        fn value(&self, values: u8) -> bool {
            match self {
                Self::Name(name) => values >> name & 1 == 1,
                Self::Not(tree) => !tree.value(values),
                Self::Two(by, a, b) => {
                    let (a, b) = (a.value(values), b.value(values));
                    match *by {
                        "and" => a && b,
                        "or" => a || b,
                        "xor" => a != b,
                        "->" => !a || b,
                        _ => a == b,
                    }
                }
            }
        }
    }

    proptest! {
        /// Against the table of all values; what is found makes the formula true.
        #[test]
        fn the_answer_is_right(tree in tree()) {
            let answer = solve(&tree.text()).unwrap();
            let possible = (0..16).any(|values| tree.value(values));
            prop_assert_eq!(answer.starts_with("satisfiable"), possible, "{}", tree.text());
            if let Some(values) = answer.strip_prefix("satisfiable: ") {
                let mut bits = 0;
                for value in values.split(", ").filter_map(|value| value.strip_suffix("=true")) {
                    bits |= 1 << value[1..].parse::<u8>().unwrap();
                }
                prop_assert!(tree.value(bits), "{}: {}", tree.text(), answer);
            }
        }
    }
}
