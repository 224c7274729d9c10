/* A tar block whose checksum field begins with '?' gets the right one before a target sees it: mutations then pass the
 * door. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void tar_seal_block(uint8_t *block)
{
	uint32_t sum = 8 * ' ';

	for (size_t i = 0; i < 512; i++)
		sum += i >= 148 && i < 156 ? 0 : block[i];
	for (size_t i = 0; i < 6; i++)
		block[148 + i] = (uint8_t)('0' + (sum >> 3 * (5 - i) & 7));
	memcpy(block + 154, "\0 ", 2);
}

static inline void tar_seal(uint8_t *data, size_t size)
{
	for (size_t i = 0; size - i >= 512; i += 512)
		if (data[i + 148] == '?')
			tar_seal_block(data + i);
}
