// The C library, as this program calls it: signatures and constants, nothing else. The only importer of koffi.
//
// Every function is a plain blocking call on the calling thread and returns what C returns; -1 means that `errno()` (errno.ts)
// tells why, until the next call. Pointers are numbers (`addressOf`) or byte arrays; memory given to the kernel by number must
// stay referenced by the caller for as long as the kernel may use it. Layouts are those of 64-bit little-endian Linux
// (x86-64, arm64). The variadic ones (fcntl, syscall) are declared with fixed integer arguments, which both
// ABIs pass in the same registers.
import koffi from 'koffi';

/** Address of memory outside the JavaScript heap. Below 2^53 on every machine that Node runs on. */
export type Pointer = number;
/** What a C pointer parameter takes: an address, bytes, or NULL. */
export type Memory = Pointer | Uint8Array | Int32Array | Uint32Array | null;
/** An open file descriptor of this process, ≥ 0. */
export type Fd = number;

const library = koffi.load(null);

function bind<Signature>(name: string, result: string, parameters: string[]): Signature {
  return library.func(name, result, parameters) as Signature;
}

/** Where the bytes are. Valid while the array is referenced: its memory does not move. */
export function addressOf(bytes: Uint8Array | Int32Array | Uint32Array): Pointer {
  return Number(koffi.address(bytes));
}

/** errno of the last call on this thread. */
export function lastErrno(): number {
  return koffi.errno();
}

type Sized = (fd: Fd, memory: Memory, length: number) => number;
type Flagged = (fd: Fd, memory: Memory, length: number, flags: number) => number;
type Option = (fd: Fd, level: number, option: number, value: Memory, length: number) => number;
type OptionOut = (fd: Fd, level: number, option: number, value: Memory, length: Memory) => number;
type Named = (fd: Fd, sockaddr: Memory, length: Memory) => number;
type Messages = (fd: Fd, messages: Memory, count: number, flags: number) => number;

export const socket = bind<(family: number, type: number, protocol: number) => number>('socket', 'int', [
  'int',
  'int',
  'int',
]);
export const bindSocket = bind<Sized>('bind', 'int', ['int', 'void *', 'uint32']);
export const listen = bind<(fd: Fd, backlog: number) => number>('listen', 'int', ['int', 'int']);
export const accept4 = bind<(fd: Fd, sockaddr: Memory, length: Memory, flags: number) => number>('accept4', 'int', [
  'int',
  'void *',
  'void *',
  'int',
]);
export const connect = bind<Sized>('connect', 'int', ['int', 'void *', 'uint32']);
export const getsockname = bind<Named>('getsockname', 'int', ['int', 'void *', 'void *']);
export const getpeername = bind<Named>('getpeername', 'int', ['int', 'void *', 'void *']);
export const setsockopt = bind<Option>('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint32']);
export const getsockopt = bind<OptionOut>('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']);
export const recv = bind<Flagged>('recv', 'int64', ['int', 'void *', 'uint64', 'int']);
export const send = bind<Flagged>('send', 'int64', ['int', 'void *', 'uint64', 'int']);
export const sendto = bind<
  (fd: Fd, memory: Memory, length: number, flags: number, sockaddr: Memory, sockaddrLength: number) => number
>('sendto', 'int64', ['int', 'void *', 'uint64', 'int', 'void *', 'uint32']);
const recvmmsgTimed = bind<(fd: Fd, messages: Memory, count: number, flags: number, timeout: null) => number>(
  'recvmmsg',
  'int',
  ['int', 'void *', 'uint32', 'int', 'void *'],
);
/** recvmmsg(2) without its timeout, which does not do what it promises (see its BUGS section). */
export function recvmmsg(fd: Fd, messages: Memory, count: number, flags: number): number {
  return recvmmsgTimed(fd, messages, count, flags, null);
}
export const memcpy = bind<(target: Pointer, source: Pointer, bytes: number) => Pointer>('memcpy', 'uintptr_t', [
  'uintptr_t',
  'uintptr_t',
  'uint64',
]);
export const sendmmsg = bind<Messages>('sendmmsg', 'int', ['int', 'void *', 'uint32', 'int']);
export const shutdown = bind<(fd: Fd, how: number) => number>('shutdown', 'int', ['int', 'int']);
export const close = bind<(fd: Fd) => number>('close', 'int', ['int']);

export const epollCreate = bind<(flags: number) => number>('epoll_create1', 'int', ['int']);
export const epollCtl = bind<(epoll: Fd, operation: number, fd: Fd, event: Memory) => number>('epoll_ctl', 'int', [
  'int',
  'int',
  'int',
  'void *',
]);
export const epollWait = bind<(epoll: Fd, events: Memory, count: number, timeoutMs: number) => number>(
  'epoll_wait',
  'int',
  ['int', 'void *', 'int', 'int'],
);
export const eventfd = bind<(initial: number, flags: number) => number>('eventfd', 'int', ['uint32', 'int']);
export const read = bind<Sized>('read', 'int64', ['int', 'void *', 'uint64']);
export const write = bind<Sized>('write', 'int64', ['int', 'void *', 'uint64']);
export const fcntl = bind<(fd: Fd, command: number, argument: number) => number>('fcntl', 'int', [
  'int',
  'int',
  'int64',
]);
export const getrlimit = bind<(resource: number, limits: Memory) => number>('getrlimit', 'int', ['int', 'void *']);

export const setns = bind<(fd: Fd, kind: number) => number>('setns', 'int', ['int', 'int']);
export const unshare = bind<(flags: number) => number>('unshare', 'int', ['int']);
export const mount = bind<
  (source: string | null, target: string, type: string | null, flags: number, data: string | null) => number
>('mount', 'int', ['str', 'str', 'str', 'uint64', 'str']);
export const umount2 = bind<(target: string, flags: number) => number>('umount2', 'int', ['str', 'int']);
/** syscall(2) for what the library has no name for. Numbers differ between machines: see SYSCALL. */
export const syscall = bind<
  (number: number, a: number, b: number, c: number, d: number, e: number, f: number) => number
>('syscall', 'int64', ['int64', 'int64', 'int64', 'int64', 'int64', 'int64', 'int64']);
/** Ends the process at once, on any thread (process.abort exists on the main thread only). */
export const abort = bind<() => never>('abort', 'void', []);
