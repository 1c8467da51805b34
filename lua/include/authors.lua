-- Who has written the latest messages that ask for receipts, by Message-ID (RFC 5438 §6.3): hashes of two
-- generations. When the recent one is full it becomes the older one, so a room remembers at most twice MAX_AUTHORS of
-- them, for AUTHORS_TTL_MS. Needs request. Gives remember_author, author_of.
local MAX_AUTHORS, AUTHORS_TTL_MS = 128, 24 * 3600 * 1000

-- After commit. The first who uses an id keeps it: nobody gets the receipts for another member's message.
-- A key of a wrong type must not end the script after its first write: then there are no receipts.
local function remember_author(recent, older)
    local id, author = request.message_id, request.from
    if redis.pcall("HEXISTS", older, id) ~= 0 or redis.pcall("HSETNX", recent, id, author) ~= 1 then
        return
    end
    if redis.call("HLEN", recent) >= MAX_AUTHORS then
        redis.call("RENAME", recent, older)
        redis.call("PEXPIRE", older, AUTHORS_TTL_MS)
    else
        redis.call("PEXPIRE", recent, AUTHORS_TTL_MS)
    end
end

-- False if the message is not known, or no longer.
local function author_of(recent, older, message_id)
    return redis.call("HGET", recent, message_id) or redis.call("HGET", older, message_id)
end
