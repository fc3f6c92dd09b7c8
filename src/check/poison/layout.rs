//! What lies where in the memory of a plan, and the same plan with guard zones
//! around it.
//!
//! Each buffer that has memory of its own gets more of it:
//!
//! ```text
//! | front | the buffer's own | guard                | back  |
//!         | <------ what kernels can reach ------> |
//! ```
//!
//! A driver keeps what a kernel writes within the range that is bound: what is
//! outside goes to the last element of it or nowhere. So the guard is part of the
//! range, and as long as the buffer itself: a write that is off by a little, or by
//! a factor of two, lands where it can be seen, and one further away is seen where
//! the driver moves it into range. Front and back are not bound, and show a driver
//! that does not keep to the range.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::plan::image::imaged;
use crate::plan::{BufferId, BufferSpec, Content, Feed, Output, Plan, SLICE, Step, stride};
use crate::run::Feeds;
use crate::shape::Shape;

/// Elements before and behind what is bound.
const APRON: usize = SLICE;
/// The shortest guard.
const LEAST_GUARD: usize = 1024;

/// What a word of memory is to the kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// No value's: it must stay as it is.
    Outside,
    /// A leaf's or a constant's: it must stay as it is.
    Given,
    /// A computed value's: some step must write it.
    Computed,
    /// The rest of a block of four, where a kernel writes whole blocks.
    Padding,
}

/// A value in memory.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Span {
    /// Its buffer in the plain plan.
    pub buffer: BufferId,
    /// Its first word.
    pub first: usize,
    /// Its elements.
    pub elements: usize,
    /// Whose it is, where there are several networks.
    pub replica: Option<usize>,
}

/// The memory of one buffer, in words.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Memory {
    /// The buffer in the plain plan.
    pub buffer: BufferId,
    /// All words.
    pub words: usize,
    /// Where the guard begins.
    pub guard: usize,
    /// The values in it, by their first word.
    pub spans: Vec<Span>,
    /// Leaves and constants: first word and elements.
    given: Vec<(usize, Vec<f32>)>,
    /// Whether some kernel writes it in blocks of four.
    by_fours: bool,
    /// Words of one kind, all of them in order.
    pub ranges: Vec<(Mark, Range<usize>)>,
}

/// A plan with guard zones, and what lies where in it.
pub(super) struct Guarded {
    /// The plan without.
    pub plain: Plan,
    /// The plan with them. What it is fed are the memories and then the images,
    /// what is read back are the memories.
    pub plan: Plan,
    /// In the order of the feeds and outputs.
    pub memories: Vec<Memory>,
    /// What each image is of: a memory, and the words of it.
    images: Vec<(usize, Range<usize>)>,
}

impl Guarded {
    /// The plan with guard zones. `most` is the largest range that can be bound, in
    /// bytes.
    pub fn new(plain: Plan, feeds: &Feeds, most: u64) -> Result<Guarded> {
        let wholes: Vec<BufferId> = (0..plain.buffers.len() as u32)
            .map(BufferId)
            .filter(|id| plain.buffers[id.index()].part_of.is_none())
            .collect();
        let mut memories = Vec::with_capacity(wholes.len());
        for &whole in &wholes {
            memories.push(Memory::new(&plain, whole, feeds, most)?);
        }
        let mut plan = plain.clone();
        let shift = wholes.len() as u32;
        let moved = |id: &mut BufferId| id.0 += shift;
        for step in &mut plan.steps {
            step.inputs.iter_mut().for_each(moved);
            step.outputs.iter_mut().for_each(moved);
        }
        // The memories come first, then the buffers as parts of them.
        plan.buffers = memories.iter().map(|m| m.spec(&plain)).collect();
        for (i, spec) in plain.buffers.iter().enumerate() {
            let (whole, first) = spec.part_of.unwrap_or((BufferId(i as u32), 0));
            let at = place(&memories, whole)?;
            let first = APRON + first;
            plan.buffers.push(BufferSpec {
                elements: memories[at].words - APRON - first,
                part_of: Some((BufferId(at as u32), first)),
                // What it starts with is given with the memory.
                content: match spec.content {
                    Content::Computed => Content::Computed,
                    _ => Content::Fed,
                },
                ..spec.clone()
            });
        }
        // All that a memory or an image holds is given as one line of words.
        plan.replicas = 1;
        plan.feeds.clear();
        let mut images = Vec::new();
        for (i, memory) in memories.iter().enumerate() {
            plan.feeds.push(Feed {
                label: memory_label(i),
                shape: Shape::new(&[memory.words])?,
                buffer: BufferId(i as u32),
            });
        }
        for (i, _) in imaged(&plan).iter().enumerate().filter(|(_, is)| **is) {
            if let Some((whole, first)) = plan.buffers[i].part_of {
                let elements = plan.buffers[i].elements;
                plan.feeds.push(Feed {
                    label: image_label(images.len()),
                    shape: Shape::new(&[elements])?,
                    buffer: BufferId(i as u32),
                });
                images.push((whole.index(), first..first + elements));
            }
        }
        plan.outputs = outputs(&plain, &memories)?;
        Ok(Guarded {
            plain,
            plan,
            memories,
            images,
        })
    }

    /// What all memories and images hold before a run, by the labels of the feeds.
    pub fn filled(&self, pattern: u32) -> Vec<(String, Vec<f32>)> {
        let memories: Vec<_> = self.memories.iter().map(|m| m.filled(pattern)).collect();
        let images = self.images.iter().enumerate().map(|(i, (memory, range))| {
            let words = memories[*memory][range.clone()].to_vec();
            (image_label(i), words)
        });
        let images: Vec<_> = images.collect();
        let memories = memories.into_iter().enumerate();
        let memories = memories.map(|(i, words)| (memory_label(i), words));
        memories.chain(images).collect()
    }

    /// The memory of a buffer of the plain plan.
    pub fn memory_of(&self, id: BufferId) -> Option<usize> {
        let whole = self.plain.buffers[id.index()].part_of.map_or(id, |p| p.0);
        self.memories.iter().position(|m| m.buffer == whole)
    }
}

fn memory_label(i: usize) -> String {
    format!("memory {i}")
}

fn image_label(i: usize) -> String {
    format!("image {i}")
}

fn place(memories: &[Memory], whole: BufferId) -> Result<usize> {
    let found = memories.iter().position(|m| m.buffer == whole);
    found.ok_or_else(|| Error::Graph(format!("buffer b{} is a part of a part", whole.0)))
}

/// Whether a step writes blocks of four to a buffer or a part of it: its kernel
/// then declares it so.
fn by_fours(plan: &Plan, step: &Step, whole: BufferId) -> bool {
    let kernel = &plan.kernels[step.kernel];
    let mut outputs = step.outputs.iter().enumerate();
    outputs.any(|(i, &id)| {
        let part_of = plan.buffers[id.index()].part_of;
        let declared = format!(
            "@binding({}) var<storage, read_write>",
            kernel.reads + 1 + i
        );
        let mut lines = kernel
            .source
            .lines()
            .filter(|line| line.contains(&declared));
        part_of.map_or(id, |part| part.0) == whole && lines.any(|line| line.contains("vec4"))
    })
}

/// Every memory, read back. The node is of no matter.
fn outputs(plain: &Plan, memories: &[Memory]) -> Result<Vec<Output>> {
    let Some(any) = plain.outputs.first() else {
        return Ok(Vec::new());
    };
    let node: NodeId = any.node;
    let one = |(i, memory): (usize, &Memory)| {
        Ok(Output {
            node,
            label: memory_label(i),
            shape: Shape::new(&[memory.words])?,
            buffer: BufferId(i as u32),
        })
    };
    memories.iter().enumerate().map(one).collect()
}

impl Memory {
    fn new(plan: &Plan, whole: BufferId, feeds: &Feeds, most: u64) -> Result<Memory> {
        let own = plan.buffers[whole.index()].bytes() as usize / 4;
        // The guard is what there is room for, if that is less.
        let room = (most / 4) as usize;
        let guard = (own.max(LEAST_GUARD)).min(room.saturating_sub(own + 2 * APRON)) / 4 * 4;
        let mut memory = Memory {
            buffer: whole,
            words: APRON + own + guard + APRON,
            guard: APRON + own,
            spans: Vec::new(),
            given: Vec::new(),
            by_fours: plan.steps.iter().any(|step| by_fours(plan, step, whole)),
            ranges: Vec::new(),
        };
        let ids = (0..plan.buffers.len() as u32).map(BufferId);
        let parts = ids.filter(|id| {
            let part = plan.buffers[id.index()].part_of;
            part.is_some_and(|(of, _)| of == whole)
        });
        let parts: Vec<BufferId> = parts.collect();
        // A buffer with parts holds them and nothing else.
        let values = if parts.is_empty() { vec![whole] } else { parts };
        for id in values {
            memory.add(plan, id, feeds)?;
        }
        memory.spans.sort_by_key(|span| span.first);
        memory.ranges = memory.ranges();
        Ok(memory)
    }

    /// Adds the value of a buffer, or those of all replicas.
    fn add(&mut self, plan: &Plan, id: BufferId, feeds: &Feeds) -> Result<()> {
        let spec = &plan.buffers[id.index()];
        let in_image = |(whole, _): (BufferId, usize)| imaged(plan)[whole.index()];
        if spec.apart.is_some() && spec.part_of.is_some_and(in_image) {
            return Ok(()); // in the buffer is nothing
        }
        let first = APRON + spec.part_of.map_or(0, |(_, first)| first);
        let fed = plan.feeds.iter().find(|f| f.buffer == id);
        let read = plan.outputs.iter().find(|o| o.buffer == id);
        let replicas = match spec.content {
            Content::Constant(_) => 1,
            _ => plan.replicas,
        };
        let shape = fed.map(|f| &f.shape).or(read.map(|o| &o.shape));
        let elements = match shape {
            Some(shape) if replicas > 1 => shape.numel(),
            _ if replicas > 1 && spec.apart.is_none() => spec.elements / replicas,
            _ => spec.elements,
        };
        let given = match &spec.content {
            Content::Constant(value) => Some(value.data()),
            Content::Computed => None,
            Content::Fed => {
                let label = fed.map_or(spec.label.as_str(), |f| f.label.as_str());
                let value = feeds.get(label).map(|v| v.data());
                let fits = |v: &&[f32]| [elements, replicas * elements].contains(&v.len());
                let value = value.filter(fits).ok_or_else(|| {
                    Error::Graph(format!(
                        "no value of {elements} elements was given for `{label}`; add it to the \
                         feeds"
                    ))
                })?;
                Some(value)
            }
        };
        for replica in 0..replicas {
            let first = first + replica * spec.apart.unwrap_or(stride(elements));
            if let Some(value) = given {
                let own = value.get(replica * elements..(replica + 1) * elements);
                let own = own.unwrap_or(&value[..elements]);
                self.given.push((first, own.to_vec()));
            }
            self.spans.push(Span {
                buffer: id,
                first,
                elements,
                replica: (replicas > 1).then_some(replica),
            });
        }
        Ok(())
    }

    /// The kinds of all words. Values may share a place, one after the other; what
    /// is the rest of a block of one may be anything in the end.
    fn ranges(&self) -> Vec<(Mark, Range<usize>)> {
        let mut marks = vec![Mark::Outside; self.words];
        for span in &self.spans {
            marks[span.first..span.first + span.elements].fill(Mark::Computed);
        }
        for span in self.spans.iter().filter(|_| self.by_fours) {
            let end = span.first + span.elements;
            marks[end..span.first + stride(span.elements)].fill(Mark::Padding);
        }
        for (first, value) in &self.given {
            marks[*first..first + value.len()].fill(Mark::Given);
        }
        let mut ranges = Vec::new();
        let mut start = 0;
        for same in marks.chunk_by(|a, b| a == b) {
            ranges.push((same[0], start..start + same.len()));
            start += same.len();
        }
        ranges
    }

    /// The whole of it as a buffer of a plan.
    fn spec(&self, plain: &Plan) -> BufferSpec {
        BufferSpec {
            label: format!("memory of {}", plain.buffers[self.buffer.index()].label),
            elements: self.words,
            content: Content::Fed,
            part_of: None,
            apart: None,
        }
    }

    /// What it holds before a run: leaves, constants, and the pattern elsewhere.
    pub fn filled(&self, pattern: u32) -> Vec<f32> {
        let mut words = vec![f32::from_bits(pattern); self.words];
        for (first, value) in &self.given {
            words[*first..first + value.len()].copy_from_slice(value);
        }
        words
    }
}
