// The part of etcd's v3 protocol that the store speaks: messages, field numbers and calls, as etcd's API reference gives them.
// The only importer of @grpc/proto-loader.
import { fromJSON } from '@grpc/proto-loader';

/** etcd's 64-bit integers come as decimal text: lease ids need all 64 bits. */
export type Int64 = string | number;

export interface Header {
  readonly clusterId: Int64;
  readonly revision: Int64;
}

export interface KeyValue {
  readonly key: Buffer;
  readonly modRevision: Int64;
  readonly value: Buffer;
}

export interface RangeRequest {
  readonly key: Buffer;
  readonly rangeEnd?: Buffer;
  /** 0: all. */
  readonly limit?: number;
  /** 0: the newest. */
  readonly revision?: number;
  readonly keysOnly?: boolean;
}

export interface RangeResponse {
  readonly header: Header;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
}

export interface PutRequest {
  readonly key: Buffer;
  readonly value?: Buffer;
  readonly lease?: Int64;
  /** The value that it has; an error when there is no such key. */
  readonly ignoreValue?: boolean;
  /** The lease that it is under; an error when there is no such key. */
  readonly ignoreLease?: boolean;
}

/** Exactly one of them. */
export interface RequestOp {
  readonly requestRange?: RangeRequest;
  readonly requestPut?: PutRequest;
  readonly requestDeleteRange?: { readonly key: Buffer };
  readonly requestTxn?: TxnRequest;
}

export interface ResponseOp {
  readonly responseRange?: RangeResponse;
  readonly responsePut?: object;
  readonly responseDeleteRange?: { readonly deleted: Int64 };
  readonly responseTxn?: TxnResponse;
}

/** The key stands at this revision; 0: it is not there. */
export interface Compare {
  readonly key: Buffer;
  readonly target: 'MOD';
  readonly result: 'EQUAL';
  readonly modRevision: number;
}

export interface TxnRequest {
  readonly compare: readonly Compare[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}

export interface TxnResponse {
  readonly header: Header;
  readonly succeeded: boolean;
  readonly responses: readonly ResponseOp[];
}

export interface WatchRequest {
  readonly createRequest: {
    readonly key: Buffer;
    readonly rangeEnd: Buffer;
    readonly startRevision: number;
    readonly progressNotify: boolean;
  };
}

export interface WatchResponse {
  readonly header: Header;
  readonly created: boolean;
  readonly canceled: boolean;
  /** Not 0: the watch was refused because everything before it is gone. */
  readonly compactRevision: Int64;
  readonly cancelReason: string;
  readonly events: readonly { readonly type: 'PUT' | 'DELETE'; readonly kv: KeyValue }[];
}

export interface StatusResponse {
  readonly version: string;
  /** `0`: this member knows of none. */
  readonly leader: Int64;
  /** It receives the cluster's history and has no voice yet. */
  readonly isLearner: boolean;
}

/** One call: its path on the wire and its codec. */
export interface Method<Request, Response> {
  readonly path: string;
  readonly encode: (request: Request) => Buffer;
  readonly decode: (bytes: Buffer) => Response;
}

type FieldTable = Readonly<Record<string, readonly [type: string, id: number, rule?: 'repeated']>>;

function message(table: FieldTable, more: object = {}) {
  const fields = Object.entries(table).map(([name, [type, id, rule]]) => [
    name,
    rule === undefined ? { type, id } : { type, id, rule },
  ]);
  return { fields: Object.fromEntries(fields), ...more };
}

/** Message types by etcd's package; field names are ours to choose, numbers and types are not. */
const DESCRIPTION = {
  nested: {
    mvccpb: {
      nested: {
        KeyValue: message({
          key: ['bytes', 1],
          modRevision: ['int64', 3],
          value: ['bytes', 5],
        }),
        Event: message(
          { type: ['EventType', 1], kv: ['KeyValue', 2] },
          { nested: { EventType: { values: { PUT: 0, DELETE: 1 } } } },
        ),
      },
    },
    etcdserverpb: {
      nested: {
        ResponseHeader: message({ clusterId: ['uint64', 1], memberId: ['uint64', 2], revision: ['int64', 3] }),
        RangeRequest: message({
          key: ['bytes', 1],
          rangeEnd: ['bytes', 2],
          limit: ['int64', 3],
          revision: ['int64', 4],
          keysOnly: ['bool', 8],
        }),
        RangeResponse: message({
          header: ['ResponseHeader', 1],
          kvs: ['mvccpb.KeyValue', 2, 'repeated'],
          more: ['bool', 3],
        }),
        PutRequest: message({
          key: ['bytes', 1],
          value: ['bytes', 2],
          lease: ['int64', 3],
          ignoreValue: ['bool', 5],
          ignoreLease: ['bool', 6],
        }),
        PutResponse: message({ header: ['ResponseHeader', 1] }),
        DeleteRangeRequest: message({ key: ['bytes', 1] }),
        DeleteRangeResponse: message({ header: ['ResponseHeader', 1], deleted: ['int64', 2] }),
        RequestOp: message(
          {
            requestRange: ['RangeRequest', 1],
            requestPut: ['PutRequest', 2],
            requestDeleteRange: ['DeleteRangeRequest', 3],
            requestTxn: ['TxnRequest', 4],
          },
          {
            oneofs: { request: { oneof: ['requestRange', 'requestPut', 'requestDeleteRange', 'requestTxn'] } },
          },
        ),
        ResponseOp: message(
          {
            responseRange: ['RangeResponse', 1],
            responsePut: ['PutResponse', 2],
            responseDeleteRange: ['DeleteRangeResponse', 3],
            responseTxn: ['TxnResponse', 4],
          },
          {
            oneofs: { response: { oneof: ['responseRange', 'responsePut', 'responseDeleteRange', 'responseTxn'] } },
          },
        ),
        Compare: message(
          {
            result: ['CompareResult', 1],
            target: ['CompareTarget', 2],
            key: ['bytes', 3],
            modRevision: ['int64', 6],
          },
          {
            // A union, so that a revision of 0 is sent too.
            oneofs: { targetUnion: { oneof: ['modRevision'] } },
            nested: {
              CompareResult: { values: { EQUAL: 0, GREATER: 1, LESS: 2, NOT_EQUAL: 3 } },
              CompareTarget: { values: { VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3, LEASE: 4 } },
            },
          },
        ),
        TxnRequest: message({
          compare: ['Compare', 1, 'repeated'],
          success: ['RequestOp', 2, 'repeated'],
          failure: ['RequestOp', 3, 'repeated'],
        }),
        TxnResponse: message({
          header: ['ResponseHeader', 1],
          succeeded: ['bool', 2],
          responses: ['ResponseOp', 3, 'repeated'],
        }),
        WatchCreateRequest: message({
          key: ['bytes', 1],
          rangeEnd: ['bytes', 2],
          startRevision: ['int64', 3],
          progressNotify: ['bool', 4],
        }),
        WatchRequest: message(
          { createRequest: ['WatchCreateRequest', 1] },
          { oneofs: { requestUnion: { oneof: ['createRequest'] } } },
        ),
        WatchResponse: message({
          header: ['ResponseHeader', 1],
          created: ['bool', 3],
          canceled: ['bool', 4],
          compactRevision: ['int64', 5],
          cancelReason: ['string', 6],
          events: ['mvccpb.Event', 11, 'repeated'],
        }),
        LeaseGrantRequest: message({ ttl: ['int64', 1], id: ['int64', 2] }),
        LeaseGrantResponse: message({ id: ['int64', 2], ttl: ['int64', 3] }),
        LeaseRevokeRequest: message({ id: ['int64', 1] }),
        LeaseRevokeResponse: message({ header: ['ResponseHeader', 1] }),
        LeaseKeepAliveRequest: message({ id: ['int64', 1] }),
        LeaseKeepAliveResponse: message({ id: ['int64', 2], ttl: ['int64', 3] }),
        StatusRequest: message({}),
        StatusResponse: message({ version: ['string', 2], leader: ['uint64', 4], isLearner: ['bool', 10] }),
        AuthenticateRequest: message({ name: ['string', 1], password: ['string', 2] }),
        AuthenticateResponse: message({ token: ['string', 2] }),
        KV: service({ Range: 'Range', Txn: 'Txn' }),
        Watch: service({ Watch: 'Watch' }),
        Lease: service({ LeaseGrant: 'LeaseGrant', LeaseRevoke: 'LeaseRevoke', LeaseKeepAlive: 'LeaseKeepAlive' }),
        Maintenance: service({ Status: 'Status' }),
        Auth: service({ Authenticate: 'Authenticate' }),
      },
    },
  },
};

/** Calls by name, each with the stem of its messages' names. */
function service(calls: Readonly<Record<string, string>>) {
  const methods = Object.entries(calls).map(([name, stem]) => [
    name,
    { requestType: `${stem}Request`, responseType: `${stem}Response` },
  ]);
  return { methods: Object.fromEntries(methods) };
}

const definitions = fromJSON(DESCRIPTION as Parameters<typeof fromJSON>[0], {
  longs: String,
  enums: String,
  defaults: true,
});

function method<Request, Response>(serviceName: string, name: string): Method<Request, Response> {
  const definition = (definitions[`etcdserverpb.${serviceName}`] as Readonly<Record<string, unknown>>)[name] as {
    readonly path: string;
    readonly requestSerialize: (request: Request) => Buffer;
    readonly responseDeserialize: (bytes: Buffer) => Response;
  };
  return { path: definition.path, encode: definition.requestSerialize, decode: definition.responseDeserialize };
}

export const RANGE = method<RangeRequest, RangeResponse>('KV', 'Range');
export const TXN = method<TxnRequest, TxnResponse>('KV', 'Txn');
export const WATCH = method<WatchRequest, WatchResponse>('Watch', 'Watch');
export const LEASE_GRANT = method<{ readonly ttl: number; readonly id: Int64 }, { readonly id: Int64 }>(
  'Lease',
  'LeaseGrant',
);
export const LEASE_REVOKE = method<{ readonly id: Int64 }, object>('Lease', 'LeaseRevoke');
/** A stream of questions and answers; `ttl` 0: the lease has ended. */
export const LEASE_KEEP_ALIVE = method<{ readonly id: Int64 }, { readonly ttl: Int64 }>('Lease', 'LeaseKeepAlive');
export const STATUS = method<object, StatusResponse>('Maintenance', 'Status');
export const AUTHENTICATE = method<{ readonly name: string; readonly password: string }, { readonly token: string }>(
  'Auth',
  'Authenticate',
);
