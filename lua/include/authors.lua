-- Who has written the latest messages that ask for receipts, by Message-ID (RFC 5438 §6.3). A member who was away sends
-- receipts for what the history has kept: so the authors are kept for as many messages as the history, and for as long, or
-- for twice that. Without history these are MIN_AUTHORS and MIN_AUTHORS_MS. Needs request, history_max, history_age_ms. Gives
-- remember_author, author_of.
--- @include "generations"
local MIN_AUTHORS, MIN_AUTHORS_MS = 128, 24 * 3600 * 1000

-- After commit. The first who uses an id keeps it: nobody gets the receipts for another member's message. The older hash is
-- looked at here, because there are more receipts than messages: they find most ids in the recent one.
-- A key of a wrong type must not end the script after its first write: then there are no receipts.
local function remember_author(recent, older)
    local id, author = request.message_id, request.from
    if redis.pcall("HEXISTS", older, id) == 0 and redis.pcall("HSETNX", recent, id, author) == 1 then
        local max = history_max > MIN_AUTHORS and history_max or MIN_AUTHORS
        turn_generation(recent, older, max, math.max(history_age_ms, MIN_AUTHORS_MS))
    end
end

-- False if the message is not known, or no longer.
local function author_of(recent, older, message_id)
    return in_generations(recent, older, message_id)
end
