/* erofs_format: the parts of EROFS that a layer index uses, as they lie on disk.
 *
 * Ownership  Plain values; copy them out of the bytes, which need not be aligned.
 * Units      A block is 512 bytes, a nid 32. All numbers are little-endian.
 * Errors     -
 * Threads    -
 * Source     linux/fs/erofs/erofs_fs.h, Linux 6.18. Ours alone, in bytes that the kernel and
 *            fsck.erofs leave alone: `implied`, `parent_cookie`, `n_implied`.
 */
#pragma once

#include <assert.h>
#include <stdint.h>

#define EROFS_MAGIC 0xE0F5E1E2u
#define EROFS_SUPER_OFF 1024u
#define EROFS_DEVICE_SLOT 9u /* in units of 128 bytes: right behind the superblock */
#define EROFS_FIRST_INODE_OFF 1280u /* right behind the device slot */

#define EROFS_BLOCK_BITS 9u
#define EROFS_BLOCK 512u
#define EROFS_NID_BITS 5u
#define EROFS_NID 32u

#define EROFS_COMPAT_MTIME 0x2u /* the one time of an inode is its mtime */
#define EROFS_INCOMPAT_CHUNKED_FILE 0x4u
#define EROFS_INCOMPAT_DEVICE_TABLE 0x8u
#define EROFS_INCOMPAT (EROFS_INCOMPAT_CHUNKED_FILE | EROFS_INCOMPAT_DEVICE_TABLE)

enum erofs_layout_kind {
	EROFS_FLAT_PLAIN = 0,
	EROFS_FLAT_INLINE = 2,
	EROFS_CHUNK_BASED = 4,
};
#define EROFS_FORMAT_EXTENDED 1u
#define EROFS_FORMAT(layout) (EROFS_FORMAT_EXTENDED | (layout) << 1)

#define EROFS_CHUNK_BITS_MASK 0x1fu
#define EROFS_CHUNK_INDEXES 0x20u
#define EROFS_NULL_ADDR 0xffffffffu

enum erofs_file_type {
	EROFS_FT_FILE = 1,
	EROFS_FT_DIRECTORY = 2,
	EROFS_FT_CHARACTER_DEVICE = 3,
	EROFS_FT_BLOCK_DEVICE = 4,
	EROFS_FT_FIFO = 5,
	EROFS_FT_SYMLINK = 7,
};

enum erofs_xattr_index {
	EROFS_XATTR_USER = 1,
	EROFS_XATTR_ACL_ACCESS = 2,
	EROFS_XATTR_ACL_DEFAULT = 3,
	EROFS_XATTR_TRUSTED = 4,
	EROFS_XATTR_SECURITY = 6,
};

struct erofs_disk_super {
	uint32_t magic;
	uint32_t checksum;
	uint32_t feature_compat;
	uint8_t block_bits;
	uint8_t ext_slots;
	uint16_t root_nid;
	uint64_t n_inodes;
	uint64_t build_time;
	uint32_t build_time_nsec;
	uint32_t n_blocks;
	uint32_t meta_block;
	uint32_t xattr_block;
	uint8_t uuid[16];
	uint8_t volume_name[16];
	uint32_t feature_incompat;
	uint16_t compression;
	uint16_t n_devices;
	uint16_t device_slot;
	uint8_t dir_block_bits;
	uint8_t reserved[37];
} __attribute__((packed));
static_assert(sizeof(struct erofs_disk_super) == 128, "EROFS superblock");

struct erofs_disk_device {
	uint8_t tag[64];
	uint32_t n_blocks;
	uint32_t mapped_block;
	uint8_t reserved[48];
	uint64_t n_implied; /* ours: directories that no member named, the root not counted */
} __attribute__((packed));
static_assert(sizeof(struct erofs_disk_device) == 128, "EROFS device slot");

struct erofs_disk_inode {
	uint16_t format;
	uint16_t xattr_count; /* 0, or 1 + the xattr area behind its header in units of 4 bytes */
	uint16_t mode;
	uint16_t reserved;
	uint64_t size;
	uint32_t u; /* first block, rdev or chunk format */
	uint32_t ino;
	uint32_t uid;
	uint32_t gid;
	uint64_t mtime;
	uint32_t mtime_nsec;
	uint32_t nlink;
	uint8_t implied; /* ours */
	uint8_t reserved1[3];
	uint32_t parent_cookie; /* ours, directories only: where in the parent its name stands */
	uint8_t reserved2[8];
} __attribute__((packed));
static_assert(sizeof(struct erofs_disk_inode) == 64, "EROFS extended inode");

struct erofs_disk_chunk {
	uint16_t block_high;
	uint16_t device;
	uint32_t block;
} __attribute__((packed));
static_assert(sizeof(struct erofs_disk_chunk) == 8, "EROFS chunk index");

struct erofs_disk_dirent {
	uint64_t nid;
	uint16_t name_off;
	uint8_t type;
	uint8_t reserved;
} __attribute__((packed));
static_assert(sizeof(struct erofs_disk_dirent) == 12, "EROFS directory entry");

struct erofs_disk_xattr_header {
	uint32_t name_filter;
	uint8_t n_shared;
	uint8_t reserved[7];
} __attribute__((packed));
static_assert(sizeof(struct erofs_disk_xattr_header) == 12, "EROFS xattr header");

struct erofs_disk_xattr {
	uint8_t name_size;
	uint8_t index;
	uint16_t value_size;
} __attribute__((packed));
static_assert(sizeof(struct erofs_disk_xattr) == 4, "EROFS xattr");
