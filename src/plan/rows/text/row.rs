//! What is done for a row: every value and every cotangent, and what it adds to the sums.

use std::collections::HashMap;

use super::Writer;
use crate::graph::NodeId;
use crate::plan::rows::elements::Term;
use crate::plan::rows::region::{Act, Member};
use crate::plan::wgsl;

impl Writer<'_> {
    /// The function that takes four rows, or one.
    pub(super) fn row_function(&mut self) {
        let region = self.region;
        let of = self.element();
        let mut parameters = Vec::new();
        for (i, &leaf) in region.leaves.iter().enumerate() {
            let names: Vec<_> = (0..self.row_size(leaf))
                .map(|e| format!("x{i}_{e}"))
                .collect();
            parameters.extend(names.iter().map(|name| format!("{name}: {of}")));
            self.elements.rows.insert(leaf, names);
        }
        if self.ragged {
            parameters.push("live: vec4<bool>".to_string());
        }
        if self.ahead {
            parameters.push("next: u32".to_string());
        }
        let results: usize = region.stores.iter().map(|&id| self.row_size(id)).sum();
        let gives = match results {
            0 => String::new(),
            n => format!(" -> array<{of}, {n}>"),
        };
        let (rows, name) = match self.single {
            true => ("One row", "row"),
            false => ("Four rows", "four_rows"),
        };
        self.put(&format!(
            "// {rows}: every value, every cotangent, and what it adds to the sums."
        ));
        self.put(&format!("fn {name}({}){gives} {{", parameters.join(", ")));
        let mut sum = 0;
        // Sums as soon as their terms are there: few values stay alive.
        let mut members: Vec<(&Member, bool)> = region.body.iter().map(|m| (m, false)).collect();
        members.extend(region.sums.iter().map(|m| (m, true)));
        members.sort_by_key(|(m, _)| m.node);
        let mut place: HashMap<NodeId, usize> = HashMap::new();
        for m in &region.sums {
            place.insert(m.node, sum);
            sum += self.shape(m.node).numel();
        }
        // Loads for the next quad, spread over the members.
        let mut loads = match self.ahead {
            true => self.loads_ahead("next"),
            false => Vec::new(),
        };
        loads.reverse();
        let every = (members.len() / (loads.len() + 1)).max(1);
        for (i, (m, is_sum)) in members.into_iter().enumerate() {
            if i % every == every - 1
                && let Some((name, load)) = loads.pop()
            {
                self.put(&format!("    next_{name} = {load};"));
            }
            self.comment(m);
            if is_sum {
                self.sum(m, place[&m.node]);
            } else {
                self.value(m);
            }
        }
        for (name, load) in loads.into_iter().rev() {
            self.put(&format!("    next_{name} = {load};"));
        }
        if results > 0 {
            let all: Vec<_> = region
                .stores
                .iter()
                .flat_map(|id| self.elements.rows[id].clone())
                .collect();
            self.put(&format!(
                "    return array<{of}, {results}>({});",
                all.join(", ")
            ));
        }
        self.put("}");
        self.put("");
    }

    /// The rule with the labels put in.
    fn comment(&mut self, m: &Member) {
        let node = self.elements.node(m.node);
        let inputs = node.inputs.iter().map(|&i| self.elements.node(i));
        let rule = wgsl::rule(node, inputs);
        self.put(&format!("    // {rule}"));
    }

    /// A value by row: one `let` an element, none for a view.
    fn value(&mut self, m: &Member) {
        let mut names = Vec::with_capacity(self.row_size(m.node));
        // Where nothing is rounded there is nothing to keep apart.
        let exact = matches!(&m.act, Act::Map(call) if call.exact);
        for e in 0..self.row_size(m.node) {
            let value = self.elements.of_row(m, e);
            if matches!(m.act, Act::View) {
                names.push(value);
                continue;
            }
            let name = format!("v{}_{e}", m.node.index());
            let value = match (exact, self.single) {
                (true, _) => value,
                (false, true) => format!("kept({value})"),
                (false, false) => format!("kept4({value})"),
            };
            self.put(&format!("    let {name} = {value};"));
            names.push(name);
        }
        self.elements.rows.insert(m.node, names);
    }

    /// What a row adds to a sum over the batch.
    fn sum(&mut self, m: &Member, place: usize) {
        for e in 0..self.shape(m.node).numel() {
            let of = if self.schedule.blocks > 1 {
                "block"
            } else {
                "total"
            };
            let sum = format!("{of}[{}]", place + e);
            let mut term = match self.elements.summed(m, e) {
                Term::Product(a, b) if self.adds_products() => {
                    self.put(&format!("    {sum} = with_products({sum}, {a}, {b});"));
                    continue;
                }
                Term::Product(a, b) => format!("{a} * {b}"),
                Term::Value(term) => term,
            };
            if self.ragged {
                term = format!("select(vec4<f32>(), {term}, live)");
            }
            if !self.single {
                term = format!("added({term})");
            }
            self.put(&format!("    {sum} += {term};"));
        }
    }
}
