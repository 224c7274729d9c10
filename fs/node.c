/* Shifts and masks. */
#include "fs/node.h"

#include <assert.h>

#include "base/limits.h"

#define DIR_TAG (UINT64_C(1) << 58)
#define LAYER_BITS 26
#define IMAGE_BITS 18

static_assert(LIMIT_LAYERS <= 256, "8 bits of a nodeid");

uint64_t node_pack_file(uint32_t layer_number, uint32_t nid)
{
	assert(layer_number > 0 && layer_number < 1u << LAYER_BITS);
	return (uint64_t)layer_number << 32 | nid;
}

uint64_t node_pack_dir(uint32_t image_number, uint16_t position, uint32_t nid)
{
	assert(image_number > 0 && image_number < 1u << IMAGE_BITS && position < LIMIT_LAYERS);
	return DIR_TAG | (uint64_t)image_number << 40 | (uint64_t)position << 32 | nid;
}

bool node_unpack(uint64_t nodeid, struct node *ret)
{
	*ret = (struct node){.nid = (uint32_t)nodeid};
	if (nodeid == NODEID_ROOT || nodeid == NODEID_IMAGES) {
		ret->kind = nodeid == NODEID_ROOT ? NODE_ROOT : NODE_IMAGES;
		return true;
	}
	if (nodeid & DIR_TAG) {
		ret->kind = NODE_DIR;
		ret->number = nodeid >> 40 & ((1u << IMAGE_BITS) - 1);
		ret->position = nodeid >> 32 & 0xff;
		return nodeid < DIR_TAG << 1 && ret->number > 0;
	}
	ret->kind = NODE_FILE;
	ret->number = (uint32_t)(nodeid >> 32);
	return ret->number > 0 && ret->number < 1u << LAYER_BITS;
}
