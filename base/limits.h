/* limits: every count, size, depth and expansion that hostile input could drive up. One line each.
 * Checked before allocating; a test at, below and above each.
 */
#pragma once

#define LIMIT_REFERENCE_SIZE 1024u			 /* text of a reference, host and digest included */
#define LIMIT_REPOSITORY_SIZE 255u			 /* host and repository (distribution-spec) */
#define LIMIT_MANIFEST_SIZE (4u << 20)			 /* manifest or index (distribution-spec: >= 4 MiB) */
#define LIMIT_CONFIG_SIZE (8u << 20)			 /* image config */
#define LIMIT_MEDIA_TYPE_SIZE 255u			 /* a media type's text (RFC 6838: 127 + 1 + 127) */
#define LIMIT_JSON_DEPTH 32u				 /* nesting of any JSON we parse */
#define LIMIT_JSON_VALUES (128u << 10)			 /* of any JSON: json-c takes up to 1 KiB for each "{}" */
#define LIMIT_CONFIG_ENTRIES (16u << 10)		 /* of one list of an image config: Env, Labels, ... */
#define LIMIT_CONFIG_TEXT_SIZE (1u << 20)		 /* of one text in it */
#define LIMIT_INDEX_DEPTH 3u				 /* image index inside an image index */
#define LIMIT_INDEX_ENTRIES 4096u			 /* manifests of one image index */
#define LIMIT_LAYERS 256u				 /* layers of an image; 8 bits in a nodeid */
#define LIMIT_BLOB_SIZE (UINT64_C(64) << 30)		 /* packed bytes of one layer */
#define LIMIT_LAYER_FILE_SIZE (UINT64_C(1) << 40)	 /* plain bytes of one layer, sparse included */
#define LIMIT_EXPANSION 1100u				 /* plain / packed: deflate's best is 1032 */
#define LIMIT_EXPANSION_FREE (UINT64_C(64) << 20)	 /* plain bytes to which the ratio does not apply */
#define LIMIT_LAYER_ENTRIES (4u << 20)			 /* members of one layer */
#define LIMIT_DIRECTORY_ENTRIES (2u << 20)		 /* names in one directory */
#define LIMIT_NAME_SIZE 255u				 /* one component (NAME_MAX) */
#define LIMIT_PATH_SIZE 4095u				 /* a member's path, a symlink's target (PATH_MAX - 1) */
#define LIMIT_DEPTH 2048u				 /* components of a path */
#define LIMIT_SYMLINKS 40u				 /* followed in one resolve (the kernel's number) */
#define LIMIT_XATTR_NAME_SIZE 255u
#define LIMIT_XATTR_VALUE_SIZE 65535u
#define LIMIT_XATTRS_SIZE (128u << 10)			 /* names and values of one inode */
#define LIMIT_PAX_SIZE (1u << 20)			 /* one pax header's records; GNU long names */
#define LIMIT_SPARSE_ENTRIES (1u << 20)			 /* fragments of one sparse member */
#define LIMIT_LAYER_FRAGMENTS (4u << 20)		 /* fragments of all sparse members of a layer */
#define LIMIT_LAYER_BUILDER_SIZE (UINT64_C(3) << 30)	 /* memory for one layer's tree while it is built */
#define LIMIT_LAYER_BUILDER_FREE (UINT64_C(256) << 20)	 /* of that for any tar, */
#define LIMIT_LAYER_BUILDER_RATIO 8u			 /* and for each byte of it that has passed */
#define LIMIT_ZSTD_WINDOW_LOG 27			 /* 128 MiB */
#define LIMIT_REDIRECTS 10
#define LIMIT_HTTP_HEADER_SIZE (64u << 10)		 /* all headers of one response */
#define LIMIT_ERROR_BODY_SIZE (16u << 10)		 /* of an HTTP error, for its message */
#define LIMIT_RETRIES 6					 /* of one request */
#define LIMIT_REFERRERS 1024u				 /* of one manifest, all pages together */
#define LIMIT_REFERRERS_PAGES 64u			 /* of one list of referrers */
#define LIMIT_LAYER_INDEX_SIZE (UINT64_C(8) << 30)	 /* one index.erofs */
#define LIMIT_CREDENTIALS_SIZE (1u << 20)		 /* an auth.json */
#define LIMIT_HELPER_OUTPUT_SIZE (32u << 10)		 /* what a credential helper answers */
#define LIMIT_PASSWD_SIZE (4u << 20)			 /* /etc/passwd and /etc/group of an image */
#define LIMIT_MESSAGE_SIZE (128u << 10)			 /* one packet on the command socket: 256 layers with sha512 */
#define LIMIT_SECCOMP_SIZE (1u << 20)			 /* a seccomp profile's JSON */
#define LIMIT_SECCOMP_RULES 16384u			 /* system calls named in it, with repetitions */
#define LIMIT_GROUPS 4096u				 /* supplementary groups of a container's user */
#define LIMIT_SPAN_SIZE (64u << 20)			 /* plain or packed bytes of one span, or dropped before it */
#define LIMIT_FILL_MEMORY (UINT64_C(256) << 20)		 /* of the large spans on their way; one may be larger, alone */
#define LIMIT_FILL_FREE (UINT64_C(8) << 20)		 /* of a span that is not large: as many as there are workers */
#define LIMIT_WINDOW_SIZE (36u << 10)			 /* a checkpoint's window, packed: more than any 32 KiB can take */
#define LIMIT_LAZY_BLOB_SIZE (512u << 20)		 /* packed layer index or span table of an artifact */
#define LIMIT_LINK_FILES (128u << 10)			 /* programs, libraries and scripts of a layer of which is told what they load */
#define LIMIT_LINK_TABLE_SIZE (16u << 20)		 /* all that is told of them */
#define LIMIT_PACKS 64u					 /* start packs of one artifact */
#define LIMIT_PROFILES 64u				 /* profiles of one image: in the store, and in an artifact */
#define LIMIT_PROFILE_RUNS 8192u			 /* parts of layers that a start is remembered to need */
#define LIMIT_PACK_FRAMES 16384u			 /* frames of one start pack */
#define LIMIT_FETCHER_MEMORY (UINT64_C(16) << 30)		 /* RLIMIT_DATA: address space that can be written, stacks included */
#define LIMIT_NAMED_PATHS_SIZE (64u << 10)			 /* paths that commands named for the fetcher */
#define LIMIT_COMMAND_SIZE (16u << 10)			 /* a recorded command, as JSON */
#define LIMIT_TOUCHED_SIZE (64u << 20)			 /* reads of one recording, 16 bytes each */
#define LIMIT_TOC_SIZE (256u << 20)			 /* plain JSON of a layer's own table (eStargz, zstd:chunked) */
#define LIMIT_TOC_ENTRY_SIZE (512u << 10)		 /* of one entry of it: xattrs in base64 */
#define LIMIT_TOC_CHUNKS (4u << 20)			 /* of all files of a layer */
#define LIMIT_ZTOC_TEXT (1u << 30)			 /* names, links and records of all files of a zTOC, repeated ones too */
#define LIMIT_ZTOC_SPANS (1u << 20)			 /* their digests may be one text in it */
