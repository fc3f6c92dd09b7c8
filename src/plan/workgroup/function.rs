//! The functions of a workgroup program: one for each kind of phase, with the
//! places of its values as arguments.

use super::phase::{Product, ProductForm, Sum, SumForm, Work};
use crate::error::{Error, Result};
use crate::ops::{matmul, template};
use crate::plan::access::Access;
use crate::plan::chain::Chain;
use crate::plan::chain_text;
use crate::plan::rows::Lanes;

const BLOCKS: &str = include_str!("../../../shaders/workgroup/blocks.wgsl");
const SUBGROUP: &str = include_str!("../../../shaders/workgroup/product_subgroup.wgsl");
const TILE: &str = include_str!("../../../shaders/workgroup/product_tile.wgsl");
const SHORT: &str = include_str!("../../../shaders/workgroup/product_short.wgsl");
const WIDE: &str = include_str!("../../../shaders/workgroup/product_wide.wgsl");
const DOT: &str = include_str!("../../../shaders/workgroup/product_dot.wgsl");
const SCALAR: &str = include_str!("../../../shaders/workgroup/product_scalar.wgsl");
const SUM_WIDE: &str = include_str!("../../../shaders/workgroup/sum_wide.wgsl");
const SUM_ALL: &str = include_str!("../../../shaders/workgroup/sum_all.wgsl");
const SUM_SCALAR: &str = include_str!("../../../shaders/workgroup/sum_scalar.wgsl");

/// A function's text, `{P}` standing for its number, and how it is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Function {
    pub text: String,
    pub turns: Turns,
}

/// Where a phase leaves a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Put {
    /// Where phases read: the buffer, or the image that stands for it.
    Here,
    /// In the buffer beside the image: an output that no phase reads.
    Away,
    /// In both.
    Both,
}

impl Put {
    /// The function that stores four elements.
    fn name(self) -> &'static str {
        match self {
            Put::Here => "put",
            Put::Away => "give",
            Put::Both => "put_and_give",
        }
    }
}

/// How often a phase's function is called, and with what first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turns {
    /// Once for each item, the lanes taking turns: `f(i, ..)`.
    Items(usize),
    /// Once for each tile by all lanes together: `f(tile, lane, ..)`.
    Tiles(usize),
    /// Once by all lanes together: `f(lane, ..)`.
    Once,
}

impl Function {
    /// The function for a phase's work; `puts` says for each value that it
    /// writes where it goes.
    pub fn of(work: &Work, lanes: Lanes, puts: &[Put]) -> Result<Function> {
        // Of products and sums there is one.
        let put = puts.first().map_or(Put::Here, |&put| put).name();
        let mut function = match work {
            Work::Product(p) => product(p, lanes)?,
            Work::Sum(s) => sum(s)?,
            Work::Chain(chain) => Function {
                text: chain_function(chain, puts),
                turns: Turns::Items(chain.elements.div_ceil(4)),
            },
        };
        function.text = function.text.replace("{PUT}", put);
        Ok(function)
    }
}

/// A template's text; `{P}` stays.
fn expanded(source: &str, settings: &[(&str, usize)]) -> Result<String> {
    let words: Vec<(&str, u32)> = settings.iter().map(|&(name, v)| (name, v as u32)).collect();
    template::expand(source, &words)
        .map_err(|e| Error::Graph(format!("a phase of a workgroup program: {e}")))
}

fn product(p: &Product, lanes: Lanes) -> Result<Function> {
    let strides = |inner_first: bool, own: usize| if inner_first { (1, own) } else { (p.k, 1) };
    let (a_m, a_k) = strides(p.transpose_a, p.m);
    let (b_n, b_k) = strides(!p.transpose_b, p.n);
    let side = 4 * lanes.count;
    let ragged = usize::from(!p.m.is_multiple_of(side) || !p.n.is_multiple_of(side));
    let settings = [
        ("M", p.m),
        ("N", p.n),
        ("K", p.k),
        ("M4", p.m / 4),
        ("N4", p.n / 4),
        ("K4", p.k / 4),
        ("A_M", a_m),
        ("A_K", a_k),
        ("B_N", b_n),
        ("B_K", b_k),
        ("A_ALONG_K", usize::from(!p.transpose_a)),
        ("B_ALONG_K", usize::from(p.transpose_b)),
        (
            "A_FOURS",
            usize::from(!p.transpose_a && p.k.is_multiple_of(4)),
        ),
        ("K_ODD", usize::from(!p.k.is_multiple_of(4))),
        ("REST", p.k - 1),
        ("LONG", usize::from(p.k > matmul::BLOCK)),
        ("RAGGED", ragged),
        ("LANES", lanes.count),
        ("ROW_LANES", p.row_lanes(lanes)),
        ("TILES_N", p.n.div_ceil(side)),
    ];
    let fours = (p.m * p.n).div_ceil(4);
    let (source, turns) = match p.form {
        ProductForm::Subgroup => (&[BLOCKS, SUBGROUP][..], Turns::Tiles(p.tiles(lanes))),
        ProductForm::Tile => (&[BLOCKS, TILE][..], Turns::Items(fours / 4)),
        ProductForm::Short => (&[SHORT][..], Turns::Items(fours)),
        ProductForm::Wide => (&[WIDE][..], Turns::Items(fours)),
        ProductForm::Dot => (&[DOT][..], Turns::Items(fours)),
        ProductForm::Scalar => (&[SCALAR][..], Turns::Items(fours)),
    };
    Ok(Function {
        text: expanded(&source.concat(), &settings)?,
        turns,
    })
}

fn sum(s: &Sum) -> Result<Function> {
    let settings = [
        ("TERMS", s.terms),
        ("TERMS4", s.terms.div_ceil(4)),
        ("ODD", usize::from(!s.terms.is_multiple_of(4))),
        ("N4", s.outputs.div_ceil(4)),
    ];
    let (source, turns) = match s.form {
        SumForm::Wide => (SUM_WIDE.to_string(), Turns::Items(s.outputs / 4)),
        SumForm::All => (SUM_ALL.to_string(), Turns::Once),
        SumForm::Scalar => {
            let source = [
                &place_function("kept_place{P}", &s.kept),
                &place_function("term_place{P}", &s.reduced),
                SUM_SCALAR,
            ]
            .concat();
            (source, Turns::Items(s.outputs.div_ceil(4)))
        }
    };
    Ok(Function {
        text: expanded(&source, &settings)?,
        turns,
    })
}

/// Loads of four elements, one `let` a call, stores.
fn chain_function(chain: &Chain, puts: &[Put]) -> String {
    let mut head = vec!["i: u32".to_string()];
    let mut places = String::new();
    let mut body = String::new();
    for (l, access) in chain.loads.iter().enumerate() {
        head.push(format!("x{l}_at: u32"));
        if let Access::Strided(axes) = access {
            places.push_str(&place_function(&format!("place{{P}}_{l}"), axes));
        }
        body.push_str(&format!("    let v{l} = {};\n", load(l, access)));
    }
    head.extend((0..chain.stores.len()).map(|y| format!("y{y}_at: u32")));
    let links = chain.links.iter().enumerate();
    let set = links.filter(|(_, link)| link.call.constant.is_some());
    head.extend(set.map(|(i, _)| format!("c{i}: f32")));
    body.push_str(&chain_text::links_of_four(chain));
    for (y, (link, put)) in chain.stores.iter().zip(puts).enumerate() {
        let put = put.name();
        body.push_str(&format!("    {put}(y{y}_at + i, kept4(t{link}));\n"));
    }
    format!("{places}fn phase{{P}}({}) {{\n{body}}}\n", head.join(", "))
}

/// What load `l` reads for block `i` of four elements: four values, or one for
/// all of them.
fn load(l: usize, access: &Access) -> String {
    let element = |part: usize| {
        let e = format!("4u * i + {part}u");
        match access {
            Access::Row(size) => format!("({e}) % {size}u"),
            Access::Column(size) => format!("({e}) / {size}u"),
            _ => format!("place{{P}}_{l}({e})"),
        }
    };
    match access {
        Access::Same => format!("fetch(x{l}_at + i)"),
        Access::One => format!("fetch(x{l}_at).x"),
        Access::Row(size) if access.is_wide() => format!("fetch(x{l}_at + i % {}u)", size / 4),
        Access::Column(size) if access.is_wide() => {
            format!("one_of(4u * x{l}_at + i / {}u)", size / 4)
        }
        _ => {
            let elements: Vec<String> = (0..4).map(element).collect();
            let elements = elements.join(", ");
            format!("four_of(4u * x{l}_at + vec4<u32>({elements}))")
        }
    }
}

/// A function from an element's number to its place, by (size, stride) of the
/// axes, outermost first.
fn place_function(name: &str, axes: &[(usize, usize)]) -> String {
    let body = match axes {
        [] => "    return 0u;\n".to_string(),
        [(_, stride)] => format!("    return element * {stride}u;\n"),
        _ => {
            let mut body = "    var rest = element;\n    var place = 0u;\n".to_string();
            for (size, stride) in axes.iter().rev() {
                body.push_str(&format!("    place += rest % {size}u * {stride}u;\n"));
                body.push_str(&format!("    rest /= {size}u;\n"));
            }
            body + "    return place;\n"
        }
    };
    format!("fn {name}(element: u32) -> u32 {{\n{body}}}\n\n")
}
