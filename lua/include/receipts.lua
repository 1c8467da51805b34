-- Which receipts (RFC 5438) the author of a message got already from a member with several devices: each of these sends its
-- own. Kept is the rank of the latest receipt, by message and reader, and only of messages whose author is known: at most
-- twice MAX_RECEIPTS of a room, for RECEIPTS_TTL_MS. What is forgotten is told once more. Needs recent_receipts,
-- older_receipts. Gives is_told, remember_told.
--- @include "generations"
local MAX_RECEIPTS, RECEIPTS_TTL_MS = 512, 24 * 3600 * 1000
-- "displayed" says "delivered" as well; other receipts are always told.
local RANK_OF = { delivered = 1, displayed = 2 }

local function receipt_of(reader, message)
    return message .. " " .. reader
end

-- Whether the author was told as much by another device.
local function is_told(reader, message, status)
    local rank, receipt = RANK_OF[status], receipt_of(reader, message)
    local known = rank and in_generations(recent_receipts, older_receipts, receipt)
    return known and rank <= (tonumber(known) or 0)
end

-- After commit.
local function remember_told(reader, message, status)
    local rank = RANK_OF[status]
    if not rank then
        return
    end
    redis.call("HSET", recent_receipts, receipt_of(reader, message), rank)
    turn_generation(recent_receipts, older_receipts, MAX_RECEIPTS, RECEIPTS_TTL_MS)
end
