//! The WGSL of a [`Chain`]: as a kernel of its own, or as the functions through
//! which the stores of another kernel go.

use std::fmt::Write;

use super::access::Access;
use super::chain::{Argument, Chain, Link, WG_SIZE};
use super::fence::{fence, fence4};
use super::wgsl;
use crate::ops::shader_lib::GRID;

/// A complete kernel: four elements an invocation.
pub(super) fn kernel(chain: &Chain) -> String {
    let loads: Vec<usize> = (0..chain.loads.len()).collect();
    let mut text = Text::new(chain, &loads, "params", "x");
    text.functions(&[GRID]);
    text.params("Params", "items");
    text.put("@group(0) @binding(0) var<uniform> params: Params;");
    text.bindings(1, "y", chain.stores.len());
    if chain.is_kept() {
        text.barriers();
    }
    text.places();
    text.put(&format!(
        "
@compute @workgroup_size({WG_SIZE})
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {{
    // Elements 4 * i to 4 * i + 3. Loads are outside of branches, in which some
    // drivers take them lane by lane.
    let item = workgroup_index(wid, count) * {WG_SIZE}u + lane;
    let i = min(item, params.items - 1u);"
    ));
    text.load_four("i", "4u * i");
    text.links(Width::Four);
    text.put("    if (item < params.items) {");
    for (slot, link) in chain.stores.iter().enumerate() {
        text.put(&format!("        y{slot}[i] = t{link};"));
    }
    text.put("    }\n}");
    text.out
}

/// A place in a kernel written by hand through which values go one by one or in
/// fours, and the chain whose functions stand there.
pub(super) struct Hook<'a> {
    pub chain: &'a Chain,
    /// The load whose value the functions are given.
    pub given: usize,
    /// The name of the functions, and of their parameters under `params`.
    pub name: &'static str,
    /// The name of the parameters' struct.
    pub params: &'static str,
    /// What the names of its buffers start with.
    pub x: &'static str,
    /// Whether four elements always begin at a multiple of four.
    pub aligned: bool,
    /// Whether the kernel's own op comes after the functions, and not before.
    pub first: bool,
}

/// For each hook the functions `name4(v, i)` and `name(v, i)`: what the chain makes
/// of `v`, the value that load `given` would read at element `i` (and the three
/// after it), with the buffers that they read from `first_binding` on. They
/// return the value of the last link. Between them and the kernel's own op stands a
/// fence, as between their links.
pub(super) fn hooks(hooks: &[Hook<'_>], first_binding: usize) -> String {
    let links = hooks.iter().flat_map(|hook| &hook.chain.links);
    let mut out = wgsl::files(links.flat_map(|link| wgsl::files_of(&link.call)));
    let mut binding = first_binding;
    for (i, hook) in hooks.iter().enumerate() {
        let chain = hook.chain;
        let loads: Vec<usize> = (0..chain.loads.len())
            .filter(|&l| l != hook.given)
            .collect();
        let params = format!("params.{}", hook.name);
        let mut text = Text::new(chain, &loads, &params, hook.x);
        text.kept = true;
        text.aligned = hook.aligned;
        text.params(hook.params, "elements");
        text.bindings(binding, "", 0);
        binding += loads.len();
        if i == 0 {
            text.barriers();
        }
        text.places();
        text.put(match hook.first {
            true => "\n// What becomes of an element at i once it is read.",
            false => "\n// What becomes of a result at i before it is stored.",
        });
        text.functions_of(hook);
        out.push_str(&text.out);
    }
    out
}

/// One `let t0 = ..;` for each link, for the four elements whose operands are
/// `v0`, `v1`, ... Settings are `c0`, .. by the number of their link.
pub(super) fn links_of_four(chain: &Chain) -> String {
    let mut text = Text::new(chain, &[], "", "");
    text.links(Width::Four);
    text.out
}

/// Elements that a run of the text computes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    One,
    Four,
}

/// Text in the making, with the names that it uses.
struct Text<'a> {
    out: String,
    chain: &'a Chain,
    /// The loads that read a buffer.
    loads: &'a [usize],
    /// Where the parameters are; nothing: they are variables.
    params: &'a str,
    /// What the buffers' names start with.
    x: &'a str,
    /// Whether values pass through `kept`.
    kept: bool,
    /// Whether four elements begin at a multiple of four.
    aligned: bool,
}

impl<'a> Text<'a> {
    fn new(chain: &'a Chain, loads: &'a [usize], params: &'a str, x: &'a str) -> Text<'a> {
        Text {
            out: String::new(),
            chain,
            loads,
            params,
            x,
            kept: chain.is_kept(),
            aligned: true,
        }
    }

    fn put(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn reads(&self) -> impl Iterator<Item = (usize, &'a Access)> + use<'a> {
        let chain = self.chain;
        self.loads.iter().map(move |&i| (i, &chain.loads[i]))
    }

    /// The files with the functions that the chain calls, each once.
    fn functions(&mut self, first: &[&'static str]) {
        let links = self.chain.links.iter();
        let called = links.flat_map(|link| wgsl::files_of(&link.call));
        let text = wgsl::files(first.iter().copied().chain(called));
        self.out.push_str(&text);
    }

    /// The struct that [`Chain::params`] fills.
    fn params(&mut self, name: &str, first: &str) {
        self.put(&format!("struct {name} {{"));
        self.put(&format!("    {first}: u32,"));
        let mut words = 1;
        if self.kept {
            self.put("    zero: u32,");
            words += 1;
        }
        for (i, link) in self.chain.links.iter().enumerate() {
            if link.call.constant.is_some() {
                self.put(&format!("    c{i}: f32, // of {}", link.call.function));
                words += 1;
            }
        }
        let x = self.x;
        for (i, access) in self.reads() {
            let unit = if access.is_wide() {
                "fours"
            } else {
                "elements"
            };
            let line = match access {
                Access::Same | Access::One => continue,
                Access::Row(_) => format!("size{i}: u32, // {x}{i} repeats after so many {unit}"),
                Access::Column(_) => format!("size{i}: u32, // {unit} that share one of {x}{i}"),
                Access::Strided(_) => format!("rank{i}: u32, // axes of {x}{i}"),
            };
            self.put(&format!("    {line}"));
            words += 1;
        }
        // Blocks of four start at a multiple of four words.
        while self.reads().any(is_strided) && words % 4 != 0 {
            self.put(&format!("    unused{words}: u32,"));
            words += 1;
        }
        for (i, _) in self.reads().filter(|r| is_strided(*r)) {
            self.put(&format!("    sizes{i}: array<vec4<u32>, 2>,"));
            self.put(&format!("    strides{i}: array<vec4<u32>, 2>,"));
        }
        self.put("}\n");
    }

    /// The buffers: those read, then `writes` that are written.
    fn bindings(&mut self, first: usize, y: &str, writes: usize) {
        let x = self.x;
        let mut binding = first;
        for (i, access) in self.reads() {
            let of = if self.is_read_by_fours(access) {
                "vec4<f32>"
            } else {
                "f32"
            };
            self.put(&format!(
                "@group(0) @binding({binding}) var<storage, read> {x}{i}: array<{of}>;"
            ));
            binding += 1;
        }
        for i in 0..writes {
            self.put(&format!(
                "@group(0) @binding({binding}) var<storage, read_write> {y}{i}: array<vec4<f32>>;"
            ));
            binding += 1;
        }
    }

    /// The fence between ops, for one element and for four.
    fn barriers(&mut self) {
        let zero = format!("{}.zero", self.params);
        self.put(&format!("\n{}", fence(&zero)));
        self.out.push_str(&fence4(&zero));
    }

    /// For each buffer read by strides, where an element's own element is.
    fn places(&mut self) {
        let (params, x) = (self.params, self.x);
        for (i, _) in self.reads().filter(|r| is_strided(*r)) {
            self.put(&format!(
                "
fn place_{x}{i}(element: u32) -> u32 {{
    var rest = element;
    var place = 0u;
    for (var a = {params}.rank{i}; a > 0u; a -= 1u) {{
        let axis = a - 1u;
        let size = {params}.sizes{i}[axis / 4u][axis % 4u];
        place += rest % size * {params}.strides{i}[axis / 4u][axis % 4u];
        rest /= size;
    }}
    return place;
}}"
            ));
        }
    }

    /// Reads what four elements need: block number `four`, which starts at
    /// element `first`.
    fn load_four(&mut self, four: &str, first: &str) {
        let (params, x) = (self.params, self.x);
        for (i, access) in self.reads() {
            let value = match access {
                Access::One => format!("{x}{i}[0]"),
                Access::Same if self.aligned => format!("{x}{i}[{four}]"),
                Access::Row(_) if self.is_wide(access) => {
                    format!("{x}{i}[{} % {params}.size{i}]", grouped(four))
                }
                Access::Column(_) if self.is_wide(access) => {
                    format!("{x}{i}[{} / {params}.size{i}]", grouped(four))
                }
                _ => {
                    let mut parts = String::new();
                    for lane in 0..4 {
                        let element = match lane {
                            0 => grouped(first),
                            _ => format!("({first} + {lane}u)"),
                        };
                        let place = self.place(i, access, &element);
                        // Writing to a String cannot fail.
                        let _ = writeln!(parts, "        {x}{i}[{place}],");
                    }
                    format!("vec4<f32>(\n{parts}    )")
                }
            };
            self.put(&format!("    let v{i} = {value};"));
        }
    }

    /// Reads what one element needs.
    fn load_one(&mut self, element: &str) {
        let x = self.x;
        for (i, access) in self.reads() {
            let place = self.place(i, access, element);
            let value = if self.is_read_by_fours(access) {
                format!("{x}{i}[{} / 4u][{element} % 4u]", grouped(&place))
            } else {
                format!("{x}{i}[{place}]")
            };
            self.put(&format!("    let v{i} = {value};"));
        }
    }

    /// Which element of load `i` belongs to an element of the output.
    fn place(&self, i: usize, access: &Access, element: &str) -> String {
        let size = format!("{}.size{i}", self.params);
        let size = if access.is_wide() {
            format!("(4u * {size})")
        } else {
            size
        };
        match access {
            Access::Same => element.to_string(),
            Access::One => "0".to_string(),
            Access::Row(_) => format!("{element} % {size}"),
            Access::Column(_) => format!("{element} / {size}"),
            Access::Strided(_) => format!("place_{}{i}({element})", self.x),
        }
    }

    /// One `let` for each link.
    fn links(&mut self, width: Width) {
        for (i, link) in self.chain.links.iter().enumerate() {
            let keep = self.chain.is_passed_on(i);
            if width == Width::One || link.single {
                let (open, close) = if keep { ("kept(", ")") } else { ("", "") };
                let call = self.call(i, link, "");
                self.put(&format!("    let t{i} = {open}{call}{close};"));
                continue;
            }
            let (open, close) = if keep { ("kept4(", ")") } else { ("", "") };
            self.put(&format!("    let t{i} = {open}vec4<f32>("));
            for part in [".x", ".y", ".z", ".w"] {
                let call = self.call(i, link, part);
                self.put(&format!("        {call},"));
            }
            self.put(&format!("    ){close};"));
        }
    }

    /// The call of link `i`'s function on one part of its arguments.
    fn call(&self, i: usize, link: &Link, part: &str) -> String {
        let argument = |argument: &Argument| match *argument {
            Argument::Load(i) if self.is_single(&self.chain.loads[i]) => format!("v{i}"),
            Argument::Load(i) => format!("v{i}{part}"),
            Argument::Link(i) if self.chain.links[i].single => format!("t{i}"),
            Argument::Link(i) => format!("t{i}{part}"),
        };
        let mut arguments: Vec<_> = link.arguments.iter().map(argument).collect();
        if link.call.constant.is_some() {
            arguments.push(match self.params {
                "" => format!("c{i}"),
                params => format!("{params}.c{i}"),
            });
        }
        format!("{}({})", link.call.function, arguments.join(", "))
    }

    /// The functions of a hook: of four elements, and of one.
    fn functions_of(&mut self, hook: &Hook<'_>) {
        let (name, given) = (hook.name, hook.given);
        let last = self.chain.links.len().saturating_sub(1);
        for (width, four, of, keep) in [
            (Width::Four, "4", "vec4<f32>", "kept4"),
            (Width::One, "", "f32", "kept"),
        ] {
            let (begin, end) = match hook.first {
                true => ("v".to_string(), format!("{keep}(t{last})")),
                false => (format!("{keep}(v)"), format!("t{last}")),
            };
            self.put(&format!(
                "fn {name}{four}(v: {of}, i: u32) -> {of} {{\n    let v{given} = {begin};"
            ));
            match width {
                Width::Four => self.load_four("i / 4u", "i"),
                Width::One => self.load_one("i"),
            }
            self.links(width);
            self.put(&format!("    return {end};\n}}\n"));
        }
    }

    /// Whether four elements read four neighbours, or all the same one.
    fn is_wide(&self, access: &Access) -> bool {
        self.aligned && access.is_wide()
    }

    /// Whether the four elements of a block read one element here.
    fn is_single(&self, access: &Access) -> bool {
        match access {
            Access::One => true,
            Access::Column(_) => self.is_wide(access),
            _ => false,
        }
    }

    /// Whether the buffer is declared as blocks of four.
    fn is_read_by_fours(&self, access: &Access) -> bool {
        match access {
            Access::Same => self.aligned,
            Access::Row(_) => self.is_wide(access),
            _ => false,
        }
    }
}

fn grouped(expression: &str) -> String {
    if expression.contains(' ') {
        format!("({expression})")
    } else {
        expression.to_string()
    }
}

fn is_strided(load: (usize, &Access)) -> bool {
    matches!(load.1, Access::Strided(_))
}
