/* message: packets on the command socket, between a command, the supervisor and the fetcher.
 *
 * A packet is a struct message_head and a JSON object. The supervisor relays packets by their head
 * and never looks at the JSON. Commands speak SOCK_SEQPACKET to <run>/socket.
 *
 * Requests (kind REQUEST, to the fetcher; texts are canonical reference_text()):
 *   {"op": "ensure", "reference": T, "platform": "os/arch[/variant]"?, "pull": "missing"|"always"|"never",
 *    "until": "manifest"|"image", "progress": bool, "access": {see fetch/credentials.h}, "trust": "repository"|"pinned",
 *    "require_lazy": bool, "whole": bool, "entrypoint": T?, "args": [T]}   the last two: what will run
 *       REPLY  {"event": "layer", "layer": i, "layers": n, "digest": T, "done": packed bytes, "total": packed
 *               bytes, "state": "present"|"waiting"|"streaming"|"done"}, at most ten a second and layer
 *       REPLY  {"event": "waiting", "for": T}   each second: what it waits for; no progress
 *       LAST   {"errno": 0, "reference": T, "image_key": hex, "image_number": n, "manifest_digest": T, "config_digest": T,
 *               "fetched_bytes": n, "requests": n, "layers": [{"digest": T, "diff_id": T, "size": n,
 *               "media_type": T, "key": T, "from": "tar"|"artifact"}]}   manifest and config then lie in <store>/blobs/sha256/<hex>
 *   {"op": "images"}   LAST {"images": [{"reference": T, "manifest_digest": T, "image_key": T, "size": packed
 *                      bytes, "checked": seconds since 1970, "layers": n, "present": bytes, "total": bytes}]}
 *   {"op": "remove", "reference": T}   LAST {"removed_layers": n, "freed_bytes": n, "gone": bool}   gone: only when asked
 *                      again: it is not there, perhaps since the fetcher that was asked before
 *   {"op": "evict", "reference": T}    LAST {"evicted_bytes": n, "kept": [{"layer": T, "why": T}]}
 *   {"op": "gc"}       LAST {"removed": [{"what": T, "bytes": n}], "n_removed": n, "freed_bytes": n}; "gc-dry": only says
 *   {"op": "check"}    REPLY {"event": "check", "layer": i, "layers": n}, about two a second
 *                      LAST {"layers": n, "bytes": n, "blobs": n, "names": n, "problems": [{"what": T, "why": T,
 *                      "repair": T or ""}], "n_problems": n, "n_repaired": n}; "check-dry" repairs nothing
 *   {"op": "status"}   LAST {"supervisor_pid", "server_pid", "fetcher_pid", "channel", "uptime_seconds", "images":
 *                      as above, "bytes_present", "bytes_fetched", "requests", "parked_reads"}
 *   {"op": "record", "reference": T, "platform": T?}   notes what is read of the image's layers, until
 *                      "index" takes it or "record-end" drops it
 *   {"op": "index", "reference": T, "platform": T?, "push": bool, "record": bool, "add_record": bool, "entrypoint": T?,
 *    "args": [T]}   LAST {"artifact": T, "layers": n, "packs": n, "image_size", "index_size", "spans_size",
 *                   "windows_size", "pack_size"}
 *   {"op": "hold", "name": T, "image_key": T, "hold": bool}   keeps the server and the image ("lazyrun mount"); sent
 *                      with `remember`
 *   {"op": "stop", "force": bool}   LAST {"errno": EBUSY, "error": "... in use by ..."} or 0, then the end
 * Every LAST carries "errno" (0 or positive) and, when it is not 0, "error": the text for the user.
 *
 * Ownership  message_receive() hands over the object.
 * Units      One packet is at most LIMIT_MESSAGE_SIZE bytes.
 * Errors     -EPIPE: the other side is gone. -ETIMEDOUT: no packet until the deadline. -EBADMSG.
 *            -EAGAIN with MSG_DONTWAIT. All bare: the caller knows whom it waits for.
 * Threads    Any; a packet is one system call.
 * Source     unix(7), SOCK_SEQPACKET.
 */
#pragma once

#include <stdint.h>

#include <json-c/json_object.h>

#define MESSAGE_MAGIC 0x3152u /* raised when the meaning of a packet changes */

enum message_kind {
	MESSAGE_REQUEST = 1, /* command -> fetcher */
	MESSAGE_REPLY = 2,   /* fetcher -> command; the request stays open */
	MESSAGE_LAST = 3,    /* fetcher -> command; the request is answered */
	MESSAGE_GONE = 4,    /* supervisor -> fetcher: this connection was closed; body empty */
	MESSAGE_REPLAY = 5,  /* supervisor -> a new fetcher: a remembered packet, no reply wanted */
	MESSAGE_IDLE = 6,    /* fetcher -> supervisor: leave if no connection is open but `connection`, the one
				that asked for it (0: none), which the supervisor then answers with LAST;
				remember[0] != 0: leave in any case */
	MESSAGE_JOIN = 7,    /* command -> supervisor: answered with this kind and, as SCM_RIGHTS, the user
				and mount namespace descriptors (none for root) */
	MESSAGE_REPLACE = 8, /* command -> supervisor: to be executed in its place, the program that comes as
				SCM_RIGHTS; behind the head stands its struct kept_format (fs/kept.h), no JSON.
				Answered with LAST */
	MESSAGE_AGAIN = 9,   /* supervisor -> fetcher: a REQUEST that was sent to another one, which died before it answered */
};

struct message_head {
	uint16_t magic;
	uint16_t kind;
	uint32_t connection; /* filled in by the supervisor; a command writes 0 */
	uint8_t remember[16]; /* not zero: the supervisor keeps the newest such packet under this key, in
				 memory, and sends it as MESSAGE_REPLAY to each new fetcher */
};

/* Sends one packet, without waiting longer than `timeout_ms` (-1: for ever). `o` may be NULL. */
int message_send(int socket_fd, const struct message_head *head, struct json_object *o, int timeout_ms);

/* Waits for one packet. *ret_object is NULL when the body is empty. */
int message_receive(int socket_fd, int timeout_ms, struct message_head *ret_head,
		    struct json_object **ret_object);
