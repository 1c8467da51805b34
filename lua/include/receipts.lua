-- Which receipts (RFC 5438) the author of a message got already from a member with several devices: each of these sends its
-- own. Hashes of two generations, like those of authors: the rank of the latest receipt, by message and reader. Only messages are
-- named of which the author is known. So a room remembers at most twice MAX_RECEIPTS of them, for RECEIPTS_TTL_MS; what is
-- forgotten is told once more. Needs recent_receipts, older_receipts. Gives is_told, remember_told.
local MAX_RECEIPTS, RECEIPTS_TTL_MS = 512, 24 * 3600 * 1000
-- "displayed" says "delivered" as well; other receipts are always told.
local RANK_OF = { delivered = 1, displayed = 2 }

local function receipt_of(reader, message)
    return message .. " " .. reader
end

-- Whether the author was told as much by another device.
local function is_told(reader, message, status)
    local rank, receipt = RANK_OF[status], receipt_of(reader, message)
    local known = rank and (redis.call("HGET", recent_receipts, receipt) or redis.call("HGET", older_receipts, receipt))
    return known and rank <= (tonumber(known) or 0)
end

-- After commit.
local function remember_told(reader, message, status)
    local rank = RANK_OF[status]
    if not rank then
        return
    end
    redis.call("HSET", recent_receipts, receipt_of(reader, message), rank)
    if redis.call("HLEN", recent_receipts) >= MAX_RECEIPTS then
        redis.call("RENAME", recent_receipts, older_receipts)
        redis.call("PEXPIRE", older_receipts, RECEIPTS_TTL_MS)
    else
        redis.call("PEXPIRE", recent_receipts, RECEIPTS_TTL_MS)
    end
end
