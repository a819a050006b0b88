// What the kernel counts of overlay networks for this node, asked for when it is scraped.
import { KernelError } from '../netlink/kernel-error.ts';
import type { OverlayDriver } from '../overlay/driver.ts';
import type { Metrics } from '../runtime/metrics.ts';

export function registerOverlayMetrics(metrics: Metrics, overlay: Pick<OverlayDriver, 'framesDropped'>): void {
  metrics.registerCollector(
    'vipmesh_overlay_frames_dropped_total',
    "Frames that did not get into an overlay network: from no node, in another's name, or of a network that is not here",
    'counter',
    ['reason'],
    async () => {
      try {
        const counts = await overlay.framesDropped();
        return Object.entries(counts).map(([reason, value]) => ({ labels: { reason }, value }));
      } catch (error) {
        // What the kernel does not tell is left out; everything else is still to be had.
        if (error instanceof KernelError) return [];
        throw error;
      }
    },
  );
}
