//! Images of buffers on the device (`graph::image`): made with a program, filled
//! by the host or by copies of what a step computed.

use super::device::{IMAGE, Inner};
use super::program::Place;
use crate::graph::image::{self, TEXEL, WIDTH};

/// The image of a buffer.
pub(super) struct Image {
    texture: wgpu::Texture,
    pub view: wgpu::TextureView,
}

/// Bytes of a row that carry values.
const ROW: u64 = TEXEL * WIDTH as u64;

impl Image {
    /// An image for a buffer of this many bytes.
    pub fn new(inner: &Inner, label: &str, bytes: u64) -> Image {
        let [width, height] = image::size(bytes);
        let usage = wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::STORAGE_BINDING;
        let texture = inner.device.create_texture(&wgpu::TextureDescriptor {
            label: Some(label),
            size: wgpu::Extent3d {
                width,
                height,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: IMAGE,
            usage,
            view_formats: &[],
        });
        let view = texture.create_view(&Default::default());
        Image { texture, view }
    }

    /// The image's part from row `y` on.
    fn at_row(&self, y: u32) -> wgpu::TexelCopyTextureInfo<'_> {
        wgpu::TexelCopyTextureInfo {
            origin: wgpu::Origin3d { x: 0, y, z: 0 },
            ..self.texture.as_image_copy()
        }
    }

    /// Fills it with what the host gives.
    pub fn write(&self, inner: &Inner, data: &[f32]) {
        let mut bytes = bytemuck::cast_slice::<f32, u8>(data).to_vec();
        bytes.resize(bytes.len().next_multiple_of(TEXEL as usize), 0);
        for (start, layout, size) in parts(bytes.len() as u64) {
            let y = (start / ROW) as u32;
            let queue = &inner.queue;
            queue.write_texture(self.at_row(y), &bytes[start as usize..], layout, size);
        }
    }

    /// Has it filled with what the buffer holds by then.
    pub fn copy(&self, encoder: &mut wgpu::CommandEncoder, from: &Place) {
        for (start, layout, size) in parts(from.bytes) {
            let y = (start / ROW) as u32;
            let from = wgpu::TexelCopyBufferInfo {
                buffer: &from.buffer,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: from.offset + start,
                    ..layout
                },
            };
            encoder.copy_buffer_to_texture(from, self.at_row(y), size);
        }
    }
}

/// The whole rows of so many bytes, then the rest: where each part starts, how
/// it lies and its size.
fn parts(bytes: u64) -> impl Iterator<Item = (u64, wgpu::TexelCopyBufferLayout, wgpu::Extent3d)> {
    let rows = bytes / ROW;
    let rest = bytes % ROW / TEXEL;
    let part = |start: u64, width: u64, height: u64| {
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(ROW as u32),
            rows_per_image: None,
        };
        let size = wgpu::Extent3d {
            width: width as u32,
            height: height as u32,
            depth_or_array_layers: 1,
        };
        (width * height > 0).then_some((start, layout, size))
    };
    let whole = part(0, u64::from(WIDTH), rows);
    whole.into_iter().chain(part(rows * ROW, rest, 1))
}
