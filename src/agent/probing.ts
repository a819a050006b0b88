// One health probe, from where it has to be made: the node, inside an overlay network, or inside the task.
import { ownHeader } from '../balancer/proxy-protocol.ts';
import type { ProbeResult } from '../health/check.ts';
import type { CheckPlan } from '../health/plan.ts';
import { probeHttp, probeTcp } from '../health/probes.ts';
import type { TaskId } from '../model/task.ts';
import { OWN_NETNS } from '../native/netns.ts';
import type { ProcessTasks } from '../tasks/process.ts';
import type { Mesh } from './mesh.ts';

export function probeTask(
  tasks: ProcessTasks,
  mesh: Mesh,
  id: TaskId,
  { check, target }: CheckPlan,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const { probe, timeoutMs } = check;
  if (target.kind === 'missing') return Promise.resolve({ ok: false, reason: target.reason });
  if (target.kind === 'task') {
    if (probe.kind === 'exec') return tasks.probe(id, probe, timeoutMs, signal);
    return Promise.resolve({ ok: false, reason: `a ${probe.kind} check has no address` });
  }
  const netns = target.networkId === undefined ? OWN_NETNS : mesh.overlaySockets.netnsOf(target.networkId);
  if (netns === undefined) return Promise.resolve({ ok: false, reason: 'its network is not on this node' });
  const { proxyProtocol } = target;
  const preface = proxyProtocol === undefined ? {} : { preface: ownHeader(proxyProtocol) };
  const address = { address: target.address, port: target.port, netns, ...preface };
  return probe.kind === 'http' ? probeHttp(address, probe, signal) : probeTcp(address, signal);
}
