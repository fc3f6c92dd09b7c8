//! The entry point of a row program: which rows an invocation takes, what is loaded
//! and stored for them, and where the sums go.

use super::Writer;
use crate::graph::{Kind, NodeId};
use crate::plan::rows::elements::PART;
use crate::plan::rows::schedule::Schedule;
use crate::plan::stride;

impl Writer<'_> {
    /// The entry point: blocks of quads in a loop, then the sums of all lanes.
    pub(super) fn entry(&mut self) {
        let region = self.region;
        self.put("@compute @workgroup_size(LANES)");
        self.put("fn rows(");
        self.put("    @builtin(workgroup_id) wid: vec3<u32>,");
        self.put("    @builtin(num_workgroups) count: vec3<u32>,");
        self.put("    @builtin(local_invocation_index) lane: u32,");
        self.put(") {");
        if self.replicas > 1 {
            self.put("    replica = workgroup_index(wid, count);");
            self.put(&format!("    if (replica >= {}u) {{", self.replicas));
            self.put("        return;");
            self.put("    }");
            self.put("    let group = 0u;");
        } else {
            self.put("    let group = workgroup_index(wid, count);");
        }
        self.put("    load_shared();");
        self.walk();
        if !region.sums.is_empty() {
            self.put("    sum_lanes(lane);");
            self.put("    if (lane == 0u && params.only == 1u) {");
            let own = match self.replicas {
                1 => "",
                _ => " + params.each[{s} / 4u][{s} % 4u] * replica",
            };
            let place = format!("params.place[{{s}} / 4u][{{s}} % 4u]{own}");
            let divisor = "params.divisor[{s} / 4u][{s} % 4u]";
            let line = format!("sums[{place}] = divided(whole[{{s}}], {divisor});");
            self.each_whole_sum(2, &[&line]);
            self.put("    } else if (lane == 0u) {");
            self.each_whole_sum(2, &["sums[group * SUMS + {s}] = whole[{s}];"]);
            self.put("    }");
        }
        self.put("}");
    }

    /// The quads of an invocation: one, some in a loop, or blocks of them.
    fn walk(&mut self) {
        let Schedule { block, blocks, .. } = self.schedule;
        let loops = block * blocks > 1;
        if loops {
            self.put(
                "    // Read before any loop: within one, drivers in software fetch a uniform lane by",
            );
            self.put("    // lane.");
        }
        self.put("    let quads = params.quads;");
        if self.ragged || self.single {
            self.put("    let row_count = params.rows;");
        }
        if !loops {
            self.put("    let quad = group * LANES + lane;");
            self.put("    if (quad < quads) {");
            self.quad(2);
            self.put("    }");
            return;
        }
        let each = match blocks {
            1 => format!("{block}u"),
            _ => {
                self.put("    let blocks = params.blocks;");
                format!("blocks * {block}u")
            }
        };
        self.put(&format!("    var quad = group * {each} * LANES + lane;"));
        if self.ahead {
            self.put("    let first = min(quad, quads - 1u);");
            for (name, load) in self.loads_ahead("first") {
                self.put(&format!("    next_{name} = {load};"));
            }
        }
        self.put(
            "    // Loops end where they are left: where a condition stands at the head, drivers",
        );
        self.put("    // in software run the body once more, for nobody.");
        if blocks == 1 {
            self.quads(1);
            return;
        }
        self.put("    var b = 0u;");
        self.put("    loop {");
        self.quads(2);
        self.each_sum(2, &["total[{s}] += block[{s}];", "block[{s}] = 0.0;"]);
        self.put("        b += 1u;");
        self.put("        if (b == blocks || quad >= quads) {");
        self.put("            break;");
        self.put("        }");
        self.put("    }");
    }

    /// The quads of a block.
    fn quads(&mut self, indent: usize) {
        let pad = "    ".repeat(indent);
        let last = self.schedule.block;
        self.put(&format!("{pad}var i = 0u;"));
        self.put(&format!("{pad}loop {{"));
        self.put(&format!("{pad}    if (quad < quads) {{"));
        self.quad(indent + 2);
        self.put(&format!("{pad}    }}"));
        self.put(&format!("{pad}    quad += LANES;"));
        self.put(&format!("{pad}    i += 1u;"));
        self.put(&format!("{pad}    if (i == {last}u || quad >= quads) {{"));
        self.put(&format!("{pad}        break;"));
        self.put(&format!("{pad}    }}"));
        self.put(&format!("{pad}}}"));
    }

    /// What an index into a value by row takes to be that of the replica's own:
    /// ` + 16u * replica`, in elements or in blocks of four.
    fn own(&self, id: NodeId, unit: usize) -> String {
        let constant = matches!(self.elements.node(id).kind, Kind::Constant(_));
        if self.replicas == 1 || constant {
            return String::new();
        }
        let each = stride(self.shape(id).numel()) / unit;
        format!(" + {each}u * replica")
    }

    /// Four rows in a loop: loads, the call, and the stores.
    fn quad_in_a_loop(&mut self, indent: usize) {
        let pad = "    ".repeat(indent);
        let region = self.region;
        let mut arguments = Vec::new();
        for (i, &leaf) in region.leaves.iter().enumerate() {
            let size = self.row_size(leaf);
            let own = self.own(leaf, 1);
            arguments.extend((0..size).map(|e| format!("leaf{i}[at * {size}u + {e}u{own}]")));
        }
        let call = format!("row({})", arguments.join(", "));
        self.put(&format!("{pad}let end = min(quad * 4u + 4u, row_count);"));
        self.put(&format!(
            "{pad}for (var at = quad * 4u; at < end; at += 1u) {{"
        ));
        if region.stores.is_empty() {
            self.put(&format!("{pad}    {call};"));
        } else {
            self.put(&format!("{pad}    let r = {call};"));
            let mut first = 0;
            for (i, &id) in region.stores.iter().enumerate() {
                let size = self.row_size(id);
                let (place, own) = (store_place(i), self.own(id, 1));
                for e in 0..size {
                    self.put(&format!(
                        "{pad}    rows_out[{place} + at * {size}u + {e}u{own}] = r[{}];",
                        first + e
                    ));
                }
                first += size;
            }
        }
        self.put(&format!("{pad}}}"));
    }

    /// The vectors of leaf `i` for the quad that is called `quad`: the name of
    /// each, and what it is read from.
    fn loads(&self, i: usize, quad: &str) -> Vec<(String, String)> {
        let leaf = self.region.leaves[i];
        let size = self.row_size(leaf);
        let load = |part: usize| {
            let at = format!("{quad} * {size}u + {part}u{}", self.own(leaf, 4));
            let load = match (self.images.contains(&i), self.ragged) {
                (true, _) => format!("textureLoad(leaf{i}, texel({at}))"),
                // The buffer ends with the last row.
                (_, true) => format!("leaf{i}[min({at}, arrayLength(&leaf{i}) - 1u)]"),
                (_, false) => format!("leaf{i}[{at}]"),
            };
            (format!("l{i}_{part}"), load)
        };
        (0..size).map(load).collect()
    }

    /// Those that are read for the next quad while this one is computed: texels
    /// come quickly, and need not be.
    pub(super) fn loads_ahead(&self, quad: &str) -> Vec<(String, String)> {
        let leaves = 0..self.region.leaves.len();
        let buffers = leaves.filter(|i| !self.images.contains(i));
        buffers.flat_map(|i| self.loads(i, quad)).collect()
    }

    /// Loads of four rows, the call, and the stores.
    fn quad(&mut self, indent: usize) {
        if self.single {
            self.quad_in_a_loop(indent);
            return;
        }
        let region = self.region;
        let pad = "    ".repeat(indent);
        for i in 0..region.leaves.len() {
            let ahead = self.ahead && !self.images.contains(&i);
            for (name, load) in self.loads(i, "quad") {
                let from = if ahead { format!("next_{name}") } else { load };
                self.put(&format!("{pad}let {name} = {from};"));
            }
        }
        let mut arguments = Vec::new();
        for (i, &leaf) in region.leaves.iter().enumerate() {
            let size = self.row_size(leaf);
            for e in 0..size {
                let parts: Vec<_> = (0..4)
                    .map(|row| row * size + e)
                    .map(|flat| format!("l{i}_{}.{}", flat / 4, PART[flat % 4]))
                    .collect();
                arguments.push(match size {
                    1 => format!("l{i}_0"),
                    _ => format!("vec4<f32>({})", parts.join(", ")),
                });
            }
        }
        if self.ragged {
            let rows = "vec4<u32>(0u, 1u, 2u, 3u)";
            self.put(&format!(
                "{pad}let live = quad * 4u + {rows} < vec4<u32>(row_count);"
            ));
            arguments.push("live".to_string());
        }
        if self.ahead {
            arguments.push("min(quad + LANES, quads - 1u)".to_string());
        }
        let open = match region.stores.is_empty() {
            true => "",
            false => "let r = ",
        };
        self.put(&format!("{pad}{open}four_rows("));
        for argument in arguments {
            self.put(&format!("{pad}    {argument},"));
        }
        self.put(&format!("{pad});"));
        self.stores(&pad);
    }

    /// The stores of four rows.
    fn stores(&mut self, pad: &str) {
        let stores = self.region.stores.clone();
        let mut first = 0;
        for (i, &id) in stores.iter().enumerate() {
            let size = self.row_size(id);
            let place = store_place(i);
            let (own, own4) = (self.own(id, 1), self.own(id, 4));
            if self.ragged {
                for (row, part) in PART.iter().enumerate() {
                    self.put(&format!("{pad}if (live.{part}) {{"));
                    for e in 0..size {
                        self.put(&format!(
                            "{pad}    rows_out[{place} + (quad * 4u + {row}u) * {size}u + {e}u{own}] = r[{}].{part};",
                            first + e
                        ));
                    }
                    self.put(&format!("{pad}}}"));
                }
            } else {
                for part in 0..size {
                    let mut items = Vec::new();
                    for slot in 0..4 {
                        let flat = part * 4 + slot;
                        items.push(format!("r[{}].{}", first + flat % size, PART[flat / size]));
                    }
                    self.put(&format!(
                        "{pad}rows_out[{place} / 4u + quad * {size}u + {part}u{own4}] = vec4<f32>({});",
                        items.join(", ")
                    ));
                }
            }
            first += size;
        }
    }
}

/// Where stored value number `i` starts.
fn store_place(i: usize) -> String {
    format!("params.stores[{}].{}", i / 4, PART[i % 4])
}
