// Principal components, in the browser: the two directions in which vectors differ most.

/**
 * Projects rows onto their first two principal components, by orthogonal iteration on the centred data; the covariance is never formed.
 * @param data Row after row, `n` times `d` numbers. It is centred in place.
 * @returns {x, y} of n numbers each, `explained`: the two components' parts of the whole variance.
 */
export function project(data, n, d, rounds = 60) {
  centre(data, n, d);
  let whole = 0;
  for (let i = 0; i < data.length; i++) whole += data[i] * data[i];
  const scores = [new Float64Array(n), new Float64Array(n)];
  // Not random: the same points always give the same picture.
  const axes = [0, 1].map((k) => Float64Array.from({ length: d }, (_, j) => Math.sin((j + 1) * (k + 1) * 1.61803) + (j % (k + 2) === 0 ? 0.5 : 0)));
  orthonormalise(axes);
  let before = -1;
  for (let round = 0; round < rounds; round++) {
    const energy = score(data, n, d, axes, scores);
    for (let k = 0; k < 2; k++) back(data, n, d, scores[k], axes[k]);
    orthonormalise(axes);
    if (Math.abs(energy - before) <= 1e-9 * whole) break;
    before = energy;
  }
  score(data, n, d, axes, scores);
  // The iteration finds the plane; within it, the axis of the greater spread comes first.
  rotate(scores);
  const explained = scores.map((values) => (whole > 0 ? values.reduce((sum, v) => sum + v * v, 0) / whole : 0));
  // A component has no sign of its own: the point farthest out lies on the right, or on top.
  for (const values of scores) {
    const far = values.reduce((most, v) => (Math.abs(v) > Math.abs(most) ? v : most), 0);
    if (far < 0) for (let i = 0; i < n; i++) values[i] = -values[i];
  }
  return { x: scores[0], y: scores[1], explained };
}

function centre(data, n, d) {
  const mean = new Float64Array(d);
  for (let i = 0; i < n; i++) for (let j = 0, at = i * d; j < d; j++, at++) mean[j] += data[at];
  for (let j = 0; j < d; j++) mean[j] /= Math.max(1, n);
  for (let i = 0; i < n; i++) for (let j = 0, at = i * d; j < d; j++, at++) data[at] -= mean[j];
}

function score(data, n, d, axes, scores) {
  let energy = 0;
  const [a, b] = axes;
  for (let i = 0; i < n; i++) {
    let p = 0, q = 0;
    for (let j = 0, at = i * d; j < d; j++, at++) { p += data[at] * a[j]; q += data[at] * b[j]; }
    scores[0][i] = p;
    scores[1][i] = q;
    energy += p * p + q * q;
  }
  return energy;
}

function back(data, n, d, values, axis) {
  axis.fill(0);
  for (let i = 0; i < n; i++) {
    const v = values[i];
    if (v === 0) continue;
    for (let j = 0, at = i * d; j < d; j++, at++) axis[j] += v * data[at];
  }
}

function orthonormalise(axes) {
  axes.forEach((axis, k) => {
    for (let earlier = 0; earlier < k; earlier++) {
      const dot = axis.reduce((sum, v, j) => sum + v * axes[earlier][j], 0);
      for (let j = 0; j < axis.length; j++) axis[j] -= dot * axes[earlier][j];
    }
    const length = Math.sqrt(axis.reduce((sum, v) => sum + v * v, 0));
    if (length > 1e-12) for (let j = 0; j < axis.length; j++) axis[j] /= length;
    else axis.fill(0);
  });
}

function rotate([x, y]) {
  let xx = 0, yy = 0, xy = 0;
  for (let i = 0; i < x.length; i++) { xx += x[i] * x[i]; yy += y[i] * y[i]; xy += x[i] * y[i]; }
  const angle = Math.atan2(2 * xy, xx - yy) / 2, cos = Math.cos(angle), sin = Math.sin(angle);
  for (let i = 0; i < x.length; i++) [x[i], y[i]] = [cos * x[i] + sin * y[i], -sin * x[i] + cos * y[i]];
}
