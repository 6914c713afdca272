/**
 * Linear regression, for memory over time. Contract: pure.
 */

/** A measurement. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** The slope of the line that fits the points best (least squares); NaN where there is none. */
export function slopeOf(points: readonly Point[]): number {
  const mean = (of: (point: Point) => number) =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [meanX, meanY] = [mean(({ x }) => x), mean(({ y }) => y)];
  const covariance = mean(({ x, y }) => (x - meanX) * (y - meanY));
  const variance = mean(({ x }) => (x - meanX) ** 2);
  return covariance / variance;
}

/** The lowest point of each whole step of `width` along x, in their order. */
export function minimaOf(points: readonly Point[], width: number): Point[] {
  const lowest = new Map<number, Point>();
  for (const point of points) {
    const step = Math.floor(point.x / width);
    if (point.y < (lowest.get(step)?.y ?? Infinity)) lowest.set(step, point);
  }
  return [...lowest.values()];
}
