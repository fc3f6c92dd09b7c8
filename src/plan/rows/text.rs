//! Writes the kernel of a row program: readable WGSL, one `let` an element.
//!
//! An invocation takes four rows at a time, because four rows of any length
//! are whole blocks of 16 bytes: everything is loaded and stored in vectors.
//! The function `four_rows` carries them from the leaves to the sums, each
//! element a vector with a part for each row: four chains of arithmetic, none of
//! which waits for another. A long body takes its rows one by one (`row`).

use std::collections::HashMap;

use super::elements::{Elements, PART};
use super::region::{Act, Member, Region};
use super::schedule::{Lanes, QUADS};
use crate::graph::{Graph, Kind, NodeId, image};
use crate::ops::shader_lib::{DIVIDE, GRID};
use crate::plan::fence::{fence, fence4};
use crate::plan::{stride, wgsl};
use crate::shape::Shape;

const FOUR: &str = include_str!("../../../shaders/rows/four.wgsl");
const SUBGROUP: &str = include_str!("../../../shaders/rows/subgroup.wgsl");
const WORKGROUP: &str = include_str!("../../../shaders/rows/workgroup.wgsl");

/// Work for one row (see [`Region::work`]) up to which four rows are written out.
const MOST_UNROLLED: usize = 300;

/// Vectors of one quad up to which the next quad is read while this one is
/// computed: more would not stay in registers.
const MOST_AHEAD: usize = 8;

/// A kernel's text and the settings of its elementwise functions, which travel
/// in its parameters.
pub(super) struct Text {
    pub source: String,
    pub constants: Vec<f32>,
}

/// Where a shared value is: which of the kernel's buffers of shared values, its
/// first element there, and how far the next replica's is (0: all have the same).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SharedAt {
    pub buffer: usize,
    pub first: usize,
    pub each: usize,
}

/// Writes the kernel of `region` for workgroups of `lanes`. `ragged` says that
/// the last four rows are not all there; `shared` says where each shared value
/// is found, `images` which leaves are read as images. Of several `replicas` each
/// has one workgroup.
pub(super) fn write(
    graph: &Graph,
    region: &Region,
    lanes: Lanes,
    ragged: bool,
    shared: &[SharedAt],
    images: &[usize],
    replicas: usize,
) -> Text {
    let single = is_long(graph, region);
    let mut writer = Writer {
        region,
        ragged: ragged && !single,
        single,
        ahead: !single && (1..=MOST_AHEAD).contains(&vectors(graph, region, images)),
        shared,
        images,
        replicas,
        elements: Elements::new(graph, !single),
        text: String::new(),
    };
    writer.kernel(lanes);
    Text {
        source: writer.text,
        constants: writer.elements.constants,
    }
}

/// Whether the kernel's body is so long that it is written once, and its rows
/// taken one by one: a driver's compiler takes time in proportion to the text.
pub(super) fn is_long(graph: &Graph, region: &Region) -> bool {
    region.work(graph) > MOST_UNROLLED
}

/// Vectors that hold four rows of all leaves that are in buffers.
fn vectors(graph: &Graph, region: &Region, images: &[usize]) -> usize {
    let of = |id: NodeId| graph.shape(id).map_or(0, Shape::numel) / region.rows.max(1);
    let leaves = region.leaves.iter().enumerate();
    let buffers = leaves.filter(|(i, _)| !images.contains(i));
    buffers.map(|(_, &id)| of(id)).sum()
}

struct Writer<'g> {
    region: &'g Region,
    ragged: bool,
    /// Rows are loaded one by one.
    single: bool,
    /// The next quad is read while this one is computed.
    ahead: bool,
    shared: &'g [SharedAt],
    /// The leaves that are read as images.
    images: &'g [usize],
    /// Networks, a workgroup each.
    replicas: usize,
    elements: Elements<'g>,
    text: String,
}

impl<'g> Writer<'g> {
    fn put(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn shape(&self, id: NodeId) -> &'g Shape {
        self.elements.shape(id)
    }

    fn label(&self, id: NodeId) -> &'g str {
        &self.elements.node(id).label
    }

    fn row_size(&self, id: NodeId) -> usize {
        self.elements.row_size(id)
    }

    /// What an element of a value by row is.
    fn element(&self) -> &'static str {
        if self.single { "f32" } else { "vec4<f32>" }
    }

    fn kernel(&mut self, lanes: Lanes) {
        let region = self.region;
        let sums: usize = region.sums.iter().map(|m| self.shape(m.node).numel()).sum();
        self.libraries(lanes);
        self.body();
        let body = std::mem::take(&mut self.text);
        // Written last, since the body says how many settings there are.
        let ops = region.size();
        self.put(&format!(
            "// {ops} ops on every row of the batch, forward and backward."
        ));
        self.put(&format!("const LANES: u32 = {}u;", lanes.count));
        self.put(&format!("const SUMS: u32 = {}u;", sums.max(1)));
        self.put("");
        self.put("struct Params {");
        self.put("    rows: u32,");
        self.put("    // Four rows each.");
        self.put("    quads: u32,");
        self.put("    // Blocks of quads that an invocation takes.");
        self.put("    blocks: u32,");
        self.put("    // 1: this is the only workgroup, and its sums are final.");
        self.put("    only: u32,");
        self.put("    // Always 0, which a compiler does not know.");
        self.put("    zero: u32,");
        self.put("    unused_a: u32,");
        self.put("    unused_b: u32,");
        self.put("    unused_c: u32,");
        self.put("    place: array<vec4<u32>, 24>,");
        self.put("    divisor: array<vec4<f32>, 24>,");
        if self.replicas > 1 {
            self.put("    // From a sum of one replica to that of the next.");
            self.put("    each: array<vec4<u32>, 24>,");
        }
        let vectors = self.elements.constants.len().div_ceil(4);
        if vectors > 0 {
            self.put(&format!("    settings: array<vec4<f32>, {vectors}>,"));
        }
        let vectors = region.stores.len().div_ceil(4);
        if vectors > 0 {
            self.put("    // Where each stored value starts.");
            self.put(&format!("    stores: array<vec4<u32>, {vectors}>,"));
        }
        self.put("}");
        self.put("");
        self.put("@group(0) @binding(0) var<uniform> params: Params;");
        self.bindings();
        self.text.push_str(&body);
    }

    fn libraries(&mut self, lanes: Lanes) {
        let region = self.region;
        let members = region.inline.iter().chain(&region.body);
        let called = members.filter_map(|m| match &m.act {
            Act::Map(call) => Some(wgsl::files_of(call)),
            _ => None,
        });
        let tree = if lanes.subgroup { SUBGROUP } else { WORKGROUP };
        let all = [GRID, DIVIDE].into_iter().chain(called.flatten());
        self.text.push_str(&wgsl::files(all.chain([tree])));
    }

    fn bindings(&mut self) {
        let region = self.region;
        let mut lines = Vec::new();
        let mut binding = 1;
        let mut put = |var: &str, name: &str, of: &str, what: &str| {
            lines.push(format!(
                "@group(0) @binding({binding}) {var} {name}: {of}; // {what}"
            ));
            binding += 1;
        };
        for (i, &leaf) in region.leaves.iter().enumerate() {
            let what = format!("\"{}\" {}", self.label(leaf), self.shape(leaf));
            let (var, of) = match (self.images.contains(&i), self.single) {
                (true, _) => ("var", "texture_storage_2d<rgba32float, read>"),
                (_, true) => ("var<storage, read>", "array<f32>"),
                (_, false) => ("var<storage, read>", "array<vec4<f32>>"),
            };
            put(var, &format!("leaf{i}"), of, &what);
        }
        let mut bind = |access: &str, name: &str, of: &str, what: &str| {
            let var = format!("var<storage, {access}>");
            put(&var, name, &format!("array<{of}>"), what);
        };
        let buffers = self
            .shared
            .iter()
            .map(|at| at.buffer + 1)
            .max()
            .unwrap_or(0);
        for i in 0..buffers {
            let of = region.shared.iter().zip(self.shared);
            let labels: Vec<_> = of
                .filter(|(_, at)| at.buffer == i)
                .map(|(&id, _)| format!("\"{}\" {}", self.label(id), self.shape(id)))
                .collect();
            bind("read", &format!("shared{i}"), "f32", &labels.join(", "));
        }
        bind("read_write", "sums", "f32", "the sums over the rows");
        if !region.stores.is_empty() {
            let scalar = self.ragged || self.single;
            let of = if scalar { "f32" } else { "vec4<f32>" };
            bind("read_write", "rows_out", of, "values by row");
        }
        for line in lines {
            self.put(&line);
        }
        self.put("");
    }

    fn body(&mut self) {
        let region = self.region;
        self.text.push_str(&fence("params.zero"));
        if !self.single {
            self.text.push_str(&fence4("params.zero"));
            self.put("");
            self.text.push_str(FOUR);
            if !self.images.is_empty() {
                self.put("");
                self.put("// Where texel i of an image is: four floats that follow each other.");
                self.put("fn texel(i: u32) -> vec2<u32> {");
                let width = image::WIDTH;
                self.put(&format!(
                    "    return vec2<u32>(i % {width}u, i / {width}u);"
                ));
                self.put("}");
            }
            self.functions_of_four();
        }
        self.put("");
        self.put("// The sums of this invocation's rows: of the block at hand, and of all blocks.");
        self.put("var<private> block: array<f32, SUMS>;");
        self.put("var<private> total: array<f32, SUMS>;");
        if self.replicas > 1 {
            self.put("// The network of this workgroup.");
            self.put("var<private> replica: u32;");
        }
        if self.ahead {
            self.put(
                "// What the next quad has read ahead: a load takes long, and is asked for while",
            );
            self.put("// there is arithmetic left to do.");
            for (name, _) in self.loads_ahead("") {
                self.put(&format!("var<private> next_{name}: vec4<f32>;"));
            }
        }
        for (i, &value) in region.shared.iter().enumerate() {
            let numel = self.shape(value).numel();
            self.put(&format!("var<private> w{i}: array<f32, {numel}>;"));
            let names = (0..numel).map(|e| format!("w{i}[{e}]")).collect();
            self.elements.shared.insert(value, names);
        }
        for m in &region.inline {
            self.inline_declaration(m);
        }
        self.put("");
        self.load_shared();
        self.row_function();
        self.entry();
    }

    /// The functions of the ops, for the elements of four rows, where their
    /// files do not have them.
    fn functions_of_four(&mut self) {
        let mut done: Vec<&str> = Vec::new();
        for m in &self.region.body {
            let Act::Map(call) = &m.act else { continue };
            let name = call.function;
            if done.contains(&name) || call.source.contains(&format!("fn {name}4(")) {
                continue;
            }
            done.push(name);
            let inputs = self.elements.node(m.node).inputs.len();
            let count = inputs + usize::from(call.constant.is_some());
            let each = |text: &dyn Fn(usize) -> String| {
                let all: Vec<_> = (0..count).map(text).collect();
                all.join(", ")
            };
            let parameters = each(&|i| format!("x{i}: vec4<f32>"));
            self.put("");
            self.put(&format!("fn {name}4({parameters}) -> vec4<f32> {{"));
            self.put("    return vec4<f32>(");
            for part in PART {
                let arguments = each(&|i| format!("x{i}.{part}"));
                self.put(&format!("        {name}({arguments}),"));
            }
            self.put("    );");
            self.put("}");
        }
    }

    /// The shared values, brought to where every row finds them.
    fn load_shared(&mut self) {
        let region = self.region;
        self.put("fn load_shared() {");
        for (i, &value) in region.shared.iter().enumerate() {
            let numel = self.shape(value).numel();
            let SharedAt {
                buffer,
                first,
                each,
            } = self.shared[i];
            let own = match each {
                0 => String::new(),
                each => format!(" + {each}u * replica"),
            };
            for e in 0..numel {
                let at = first + e;
                self.put(&format!("    w{i}[{e}] = shared{buffer}[{at}{own}];"));
            }
        }
        for m in &region.inline {
            for e in 0..self.shape(m.node).numel() {
                let value = self.elements.of_shared(m, e);
                let name = self.elements.shared[&m.node][e].clone();
                let value = if matches!(m.act, Act::View) {
                    value
                } else {
                    format!("kept({value})")
                };
                let label = self.label(m.node);
                self.put(&format!("    {name} = {value}; // \"{label}\""));
            }
        }
        self.put("}");
        self.put("");
    }

    fn inline_declaration(&mut self, m: &Member) {
        let index = m.node.index();
        let numel = self.shape(m.node).numel();
        self.put(&format!("var<private> s{index}: array<f32, {numel}>;"));
        let names = (0..numel).map(|e| format!("s{index}[{e}]")).collect();
        self.elements.shared.insert(m.node, names);
    }

    fn row_function(&mut self) {
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
        for e in 0..self.row_size(m.node) {
            let value = self.elements.of_row(m, e);
            if matches!(m.act, Act::View) {
                names.push(value);
                continue;
            }
            let name = format!("v{}_{e}", m.node.index());
            let keep = if self.single { "kept" } else { "kept4" };
            self.put(&format!("    let {name} = {keep}({value});"));
            names.push(name);
        }
        self.elements.rows.insert(m.node, names);
    }

    /// What a row adds to a sum over the batch.
    fn sum(&mut self, m: &Member, place: usize) {
        for e in 0..self.shape(m.node).numel() {
            let mut term = self.elements.summed(m, e);
            if self.ragged {
                term = format!("select(vec4<f32>(), {term}, live)");
            }
            if !self.single {
                term = format!("added({term})");
            }
            self.put(&format!("    block[{}] += {term};", place + e));
        }
    }

    fn entry(&mut self) {
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
        self.put(&format!(
            "    var quad = group * params.blocks * {QUADS}u * LANES + lane;"
        ));
        if self.ahead {
            self.put("    let first = min(quad, params.quads - 1u);");
            for (name, load) in self.loads_ahead("first") {
                self.put(&format!("    next_{name} = {load};"));
            }
        }
        self.put(
            "    // Loops end where they are left: where a condition stands at the head, drivers",
        );
        self.put("    // in software run the body once more, for nobody.");
        self.put("    var b = 0u;");
        self.put("    loop {");
        self.put("        var i = 0u;");
        self.put("        loop {");
        self.put("            if (quad < params.quads) {");
        self.quad();
        self.put("            }");
        self.put("            quad += LANES;");
        self.put("            i += 1u;");
        self.put(&format!(
            "            if (i == {QUADS}u || quad >= params.quads) {{"
        ));
        self.put("                break;");
        self.put("            }");
        self.put("        }");
        if !region.sums.is_empty() {
            self.put("        for (var s = 0u; s < SUMS; s += 1u) {");
            self.put("            total[s] += block[s];");
            self.put("            block[s] = 0.0;");
            self.put("        }");
        }
        self.put("        b += 1u;");
        self.put("        if (b == params.blocks || quad >= params.quads) {");
        self.put("            break;");
        self.put("        }");
        self.put("    }");
        if !region.sums.is_empty() {
            self.put("    sum_lanes(lane);");
            self.put("    if (lane == 0u && params.only == 1u) {");
            self.put("        for (var s = 0u; s < SUMS; s += 1u) {");
            self.put("            let divisor = params.divisor[s / 4u][s % 4u];");
            self.put("            let place = params.place[s / 4u][s % 4u];");
            let own = match self.replicas {
                1 => "",
                _ => " + params.each[s / 4u][s % 4u] * replica",
            };
            self.put(&format!(
                "            sums[place{own}] = divided(total[s], divisor);"
            ));
            self.put("        }");
            self.put("    } else if (lane == 0u) {");
            self.put("        for (var s = 0u; s < SUMS; s += 1u) {");
            self.put("            sums[group * SUMS + s] = total[s];");
            self.put("        }");
            self.put("    }");
        }
        self.put("}");
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
    fn quad_in_a_loop(&mut self) {
        let region = self.region;
        let mut arguments = Vec::new();
        for (i, &leaf) in region.leaves.iter().enumerate() {
            let size = self.row_size(leaf);
            let own = self.own(leaf, 1);
            arguments.extend((0..size).map(|e| format!("leaf{i}[at * {size}u + {e}u{own}]")));
        }
        let call = format!("row({})", arguments.join(", "));
        self.put("                let end = min(quad * 4u + 4u, params.rows);");
        self.put("                for (var at = quad * 4u; at < end; at += 1u) {");
        if region.stores.is_empty() {
            self.put(&format!("                    {call};"));
        } else {
            self.put(&format!("                    let r = {call};"));
            let mut first = 0;
            for (i, &id) in region.stores.iter().enumerate() {
                let size = self.row_size(id);
                let (place, own) = (store_place(i), self.own(id, 1));
                for e in 0..size {
                    self.put(&format!(
                        "                    rows_out[{place} + at * {size}u + {e}u{own}] = r[{}];",
                        first + e
                    ));
                }
                first += size;
            }
        }
        self.put("                }");
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
    fn loads_ahead(&self, quad: &str) -> Vec<(String, String)> {
        let leaves = 0..self.region.leaves.len();
        let buffers = leaves.filter(|i| !self.images.contains(i));
        buffers.flat_map(|i| self.loads(i, quad)).collect()
    }

    /// Loads of four rows, the call, and the stores.
    fn quad(&mut self) {
        if self.single {
            self.quad_in_a_loop();
            return;
        }
        let region = self.region;
        const PAD: &str = "                ";
        for i in 0..region.leaves.len() {
            let ahead = self.ahead && !self.images.contains(&i);
            for (name, load) in self.loads(i, "quad") {
                let from = if ahead { format!("next_{name}") } else { load };
                self.put(&format!("{PAD}let {name} = {from};"));
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
                "{PAD}let live = quad * 4u + {rows} < vec4<u32>(params.rows);"
            ));
            arguments.push("live".to_string());
        }
        if self.ahead {
            arguments.push("min(quad + LANES, params.quads - 1u)".to_string());
        }
        let open = match region.stores.is_empty() {
            true => "",
            false => "let r = ",
        };
        self.put(&format!("{PAD}{open}four_rows("));
        for argument in arguments {
            self.put(&format!("{PAD}    {argument},"));
        }
        self.put(&format!("{PAD});"));
        self.stores();
    }

    /// The stores of four rows.
    fn stores(&mut self) {
        const PAD: &str = "                ";
        let stores = self.region.stores.clone();
        let mut first = 0;
        for (i, &id) in stores.iter().enumerate() {
            let size = self.row_size(id);
            let place = store_place(i);
            let (own, own4) = (self.own(id, 1), self.own(id, 4));
            if self.ragged {
                for (row, part) in PART.iter().enumerate() {
                    self.put(&format!("{PAD}if (live.{part}) {{"));
                    for e in 0..size {
                        self.put(&format!(
                            "{PAD}    rows_out[{place} + (quad * 4u + {row}u) * {size}u + {e}u{own}] = r[{}].{part};",
                            first + e
                        ));
                    }
                    self.put(&format!("{PAD}}}"));
                }
            } else {
                for part in 0..size {
                    let mut items = Vec::new();
                    for slot in 0..4 {
                        let flat = part * 4 + slot;
                        items.push(format!("r[{}].{}", first + flat % size, PART[flat / size]));
                    }
                    self.put(&format!(
                        "{PAD}rows_out[{place} / 4u + quad * {size}u + {part}u{own4}] = vec4<f32>({});",
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
