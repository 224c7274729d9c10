/* node: what the kernel's number for a node says, with nothing to remember.
 *
 * What is no directory: layer number (26 bits) and nid, the same in every image, so that its pages in
 * memory are shared. A directory: a tag bit, image number (18 bits), position of its topmost layer (8
 * bits) and nid there. All stay below 2^60, so that overlayfs' xino has room.
 *
 * Ownership  Plain values.
 * Units      -
 * Errors     node_unpack() returns false for a number that we never gave.
 * Threads    Any.
 * Source     docs/design.md, "FUSE mounts".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define NODEID_ROOT UINT64_C(1)	  /* FUSE_ROOT_ID */
#define NODEID_IMAGES UINT64_C(2) /* the directory "images"; layer number 0 does not exist */

enum node_kind { NODE_ROOT, NODE_IMAGES, NODE_FILE, NODE_DIR };

struct node {
	enum node_kind kind;
	uint32_t number; /* of the layer (NODE_FILE) or the image (NODE_DIR) */
	uint16_t position;
	uint32_t nid;
};

uint64_t node_pack_file(uint32_t layer_number, uint32_t nid);
uint64_t node_pack_dir(uint32_t image_number, uint16_t position, uint32_t nid);
bool node_unpack(uint64_t nodeid, struct node *ret);
