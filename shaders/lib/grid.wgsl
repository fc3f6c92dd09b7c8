// A dispatch may have at most 65,535 workgroups along an axis. Longer lines of
// workgroups are folded into rows; this is the place along the unfolded line.
fn workgroup_index(wid: vec3<u32>, count: vec3<u32>) -> u32 {
    return wid.y * count.x + wid.x;
}
