//! Writes the kernel of a row program: readable WGSL, one `let` an element.
//!
//! An invocation takes four rows at a time, because four rows of any length
//! are whole blocks of 16 bytes: everything is loaded and stored in vectors.
//! The function `four_rows` carries them from the leaves to the sums, each
//! element a vector with a part for each row: four chains of arithmetic, none of
//! which waits for another. A long body takes its rows one by one (`row`).

mod entry;
mod row;

use super::elements::{Elements, PART};
use super::region::{Act, MOST_SUMS, Member, Region};
use super::schedule::Schedule;
use crate::graph::{Graph, NodeId, image};
use crate::ops::shader_lib::{DIVIDE, GRID, TARGET, TARGET_GPU};
use crate::plan::fence::{fence, fence4};
use crate::plan::wgsl;
use crate::shape::Shape;

const FOUR: &str = include_str!("../../../shaders/rows/four.wgsl");
const PRODUCTS: &str = include_str!("../../../shaders/rows/products.wgsl");
const SUBGROUP: &str = include_str!("../../../shaders/rows/subgroup.wgsl");

/// Work for one row (see [`Region::work`]) up to which a driver in software carries four
/// rows side by side where stores make the text long.
const MOST_SIDE_BY_SIDE: usize = 300;
/// Registers (see [`Region::registers`]) up to which a GPU does. (RADV spills at 254 of them
/// and not at 143, by benches/isa; fewer leave room for more subgroups.)
const MOST_REGISTERS: usize = 128;

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

/// Writes the kernel of `region`. `ragged` says that the last four rows are not all
/// there, `software` that a driver in software compiles it; `shared` says where each
/// shared value is found, `images` which leaves are read as images. Of several `replicas`
/// each has one workgroup.
pub(super) fn write(
    graph: &Graph,
    region: &Region,
    schedule: &Schedule,
    [ragged, software]: [bool; 2],
    shared: &[SharedAt],
    images: &[usize],
    replicas: usize,
) -> Text {
    let single = is_long(graph, region, software);
    let mut writer = Writer {
        region,
        ragged: ragged && !single,
        single,
        software,
        schedule: *schedule,
        ahead: !single
            && schedule.block * schedule.blocks > 1
            && (1..=MOST_AHEAD).contains(&vectors(graph, region, images)),
        shared,
        images,
        replicas,
        elements: Elements::new(graph, !single),
        text: String::new(),
    };
    writer.kernel();
    Text {
        source: writer.text,
        constants: writer.elements.constants,
    }
}

/// Whether so much is done for a row that rows are taken one by one.
pub(super) fn is_long(graph: &Graph, region: &Region, software: bool) -> bool {
    match software {
        true => !region.stores.is_empty() && region.work(graph) > MOST_SIDE_BY_SIDE,
        false => region.registers(graph) > MOST_REGISTERS,
    }
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
    software: bool,
    schedule: Schedule,
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

    /// Lines for each sum, with its number for `{s}`. Named one by one and not by an
    /// index, sums are in registers.
    fn each_sum(&mut self, indent: usize, lines: &[&str]) {
        let pad = "    ".repeat(indent);
        for s in 0..self.sums() {
            for line in lines {
                let line = line.replace("{s}", &format!("{s}u"));
                self.put(&format!("{pad}{line}"));
            }
        }
    }

    /// The same for sums that are whole: a driver in software, which takes long to
    /// compile each line, gets a loop.
    fn each_whole_sum(&mut self, indent: usize, lines: &[&str]) {
        if !self.software {
            return self.each_sum(indent, lines);
        }
        let pad = "    ".repeat(indent);
        self.put(&format!("{pad}for (var s = 0u; s < SUMS; s += 1u) {{"));
        for line in lines {
            self.put(&format!("{pad}    {}", line.replace("{s}", "s")));
        }
        self.put(&format!("{pad}}}"));
    }

    /// Elements of all sums.
    fn sums(&self) -> usize {
        let sums = self.region.sums.iter();
        sums.map(|m| self.shape(m.node).numel()).sum()
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

    /// Whether products are added to a sum one by one, where a multiply-add is one step.
    /// Drivers in software rather wait for fewer steps one after the other.
    fn adds_products(&self) -> bool {
        !self.software && !self.single && !self.ragged
    }

    /// What an element of a value by row is.
    fn element(&self) -> &'static str {
        if self.single { "f32" } else { "vec4<f32>" }
    }

    fn kernel(&mut self) {
        let region = self.region;
        let sums = self.sums();
        self.libraries();
        self.body();
        let body = std::mem::take(&mut self.text);
        // Written last, since the body says how many settings there are.
        let ops = region.size();
        self.put(&format!(
            "// {ops} ops on every row of the batch, forward and backward."
        ));
        self.put(&format!(
            "const LANES: u32 = {}u;",
            self.schedule.lanes.count
        ));
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
        if self.software {
            self.put("    unused_a: u32,");
            self.put("    unused_b: u32,");
        } else {
            self.put("    // Always 1, both, which a compiler does not know either.");
            self.put("    one: f32,");
            self.put("    unit: f32,");
        }
        self.put("    unused_c: u32,");
        let fours = MOST_SUMS / 4;
        self.put(&format!("    place: array<vec4<u32>, {fours}>,"));
        self.put(&format!("    divisor: array<vec4<f32>, {fours}>,"));
        if self.replicas > 1 {
            self.put("    // From a sum of one replica to that of the next.");
            self.put(&format!("    each: array<vec4<u32>, {fours}>,"));
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

    fn libraries(&mut self) {
        let region = self.region;
        let members = region.inline.iter().chain(&region.body);
        let called = members.filter_map(|m| match &m.act {
            Act::Map(call) => Some(wgsl::files_of(call)),
            _ => None,
        });
        let suited = |file| match file {
            TARGET if !self.software => TARGET_GPU,
            file => file,
        };
        let all = [GRID, DIVIDE].into_iter().chain(called.flatten());
        self.text.push_str(&wgsl::files(all.map(suited)));
    }

    /// The function that adds up the sums of all lanes: in a fixed order, a tree.
    fn tree(&mut self) {
        self.put("// The sums over the workgroup.");
        self.put("var<private> whole: array<f32, SUMS>;");
        self.put("");
        if self.schedule.lanes.subgroup {
            self.text.push_str(SUBGROUP);
            self.put("");
            self.put("fn sum_lanes(lane: u32) {");
            self.each_sum(1, &["whole[{s}] = total[{s}];"]);
            self.each_whole_sum(1, &["whole[{s}] = sum_of_lanes(whole[{s}]);"]);
        } else {
            self.put(
                "// The upper half of the lanes hands its sums to the lower half, until one lane",
            );
            self.put("// is left.");
            self.put("var<workgroup> shared_sums: array<f32, SUMS * LANES>;");
            self.put("");
            self.put("fn sum_lanes(lane: u32) {");
            self.each_sum(1, &["shared_sums[{s} * LANES + lane] = total[{s}];"]);
            self.put("    workgroupBarrier();");
            self.put("    for (var half = LANES / 2u; half > 0u; half /= 2u) {");
            self.put("        if (lane < half) {");
            let other = "shared_sums[{s} * LANES + lane + half]";
            let line = format!("shared_sums[{{s}} * LANES + lane] += {other};");
            self.each_whole_sum(3, &[&line]);
            self.put("        }");
            self.put("        workgroupBarrier();");
            self.put("    }");
            self.each_whole_sum(1, &["whole[{s}] = shared_sums[{s} * LANES];"]);
        }
        self.put("}");
        self.put("");
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
            if self.adds_products() {
                self.put("");
                self.text.push_str(PRODUCTS);
            }
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
        if self.schedule.blocks > 1 {
            self.put(
                "// The sums of this invocation's rows: of the block at hand, and of all blocks.",
            );
            self.put("var<private> block: array<f32, SUMS>;");
        } else {
            self.put("// The sums of this invocation's rows.");
        }
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
        if !region.sums.is_empty() {
            self.tree();
        }
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
}
