"""Every operation of the service, where it is, and the client's method that performs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Operation(NamedTuple):
    """A method and path of the contract; `call` is where on a `Client` it is offered."""

    method: str
    path: str
    call: str


OPERATIONS: Mapping[str, Operation] = {
    "getJwks": Operation("GET", "/.well-known/jwks.json", "auth.jwks"),
    "getHealth": Operation("GET", "/healthz", "health"),
    "getMetrics": Operation("GET", "/metrics", "metrics"),
    "getReadiness": Operation("GET", "/readyz", "readiness"),
    "listApiKeys": Operation("GET", "/v1/api-keys", "keys.list"),
    "createApiKey": Operation("POST", "/v1/api-keys", "keys.create"),
    "updateApiKey": Operation("PATCH", "/v1/api-keys/{id}", "keys.update"),
    "listAudit": Operation("GET", "/v1/audit", "audit.list"),
    "exportAudit": Operation("GET", "/v1/audit/export", "audit.export"),
    "logout": Operation("POST", "/v1/auth/logout", "auth.logout"),
    "removeMfa": Operation("DELETE", "/v1/auth/mfa", "auth.remove_mfa"),
    "answerMfa": Operation("POST", "/v1/auth/mfa", "auth.answer_mfa"),
    "enrolMfa": Operation("POST", "/v1/auth/mfa/enrol", "auth.enrol_mfa"),
    "confirmMfa": Operation("POST", "/v1/auth/mfa/enrol/confirm", "auth.confirm_mfa"),
    "confirmRecoverPassword": Operation(
        "POST", "/v1/auth/password/confirm", "auth.confirm_recovery"
    ),
    "recoverPassword": Operation("POST", "/v1/auth/password/recover", "auth.recover_password"),
    "changeTemporaryPassword": Operation(
        "POST", "/v1/auth/password/temporary", "auth.change_temporary_password"
    ),
    "refreshToken": Operation("POST", "/v1/auth/refresh", "auth.refresh"),
    "getSsoConfig": Operation("GET", "/v1/auth/sso", "auth.sso"),
    "backchannelLogout": Operation(
        "POST", "/v1/auth/sso/{tenant}/backchannel-logout", "auth.sso_backchannel_logout"
    ),
    "finishSso": Operation("GET", "/v1/auth/sso/{tenant}/callback", "auth.finish_sso"),
    "startSso": Operation("GET", "/v1/auth/sso/{tenant}/start", "auth.start_sso"),
    "authenticate": Operation("POST", "/v1/auth/token", "auth.authenticate"),
    "verifyToken": Operation("GET", "/v1/auth/verify", "auth.verify"),
    "listConnectorTypes": Operation("GET", "/v1/connector-types", "connectors.types"),
    "listConnectors": Operation("GET", "/v1/connectors", "connectors.list"),
    "createConnector": Operation("POST", "/v1/connectors", "connectors.create"),
    "deleteConnector": Operation("DELETE", "/v1/connectors/{id}", "connectors.delete"),
    "getConnector": Operation("GET", "/v1/connectors/{id}", "connectors.get"),
    "updateConnector": Operation("PATCH", "/v1/connectors/{id}", "connectors.update"),
    "checkConnectorAuth": Operation(
        "POST", "/v1/connectors/{id}/auth-check", "connectors.check_auth"
    ),
    "getChannelEpg": Operation(
        "GET", "/v1/connectors/{id}/channels/{channelId}/epg", "epg.programmes"
    ),
    "listSegmentExports": Operation(
        "GET", "/v1/connectors/{id}/channels/{channelId}/segments", "exports.list"
    ),
    "exportSegment": Operation(
        "POST", "/v1/connectors/{id}/channels/{channelId}/segments", "exports.create"
    ),
    "createReference": Operation(
        "POST",
        "/v1/connectors/{id}/channels/{channelId}/references",
        "connectors.keep_reference",
    ),
    "removeChannelStation": Operation(
        "DELETE", "/v1/connectors/{id}/channels/{channelId}/station", "epg.remove_station"
    ),
    "getChannelStation": Operation(
        "GET", "/v1/connectors/{id}/channels/{channelId}/station", "epg.station"
    ),
    "setChannelStation": Operation(
        "PUT", "/v1/connectors/{id}/channels/{channelId}/station", "epg.set_station"
    ),
    "suggestStations": Operation(
        "GET", "/v1/connectors/{id}/channels/{channelId}/station/suggestions", "epg.suggest"
    ),
    "getSource": Operation("GET", "/v1/connectors/{id}/files/{fileId}", "connectors.source"),
    "getClip": Operation("GET", "/v1/connectors/{id}/files/{fileId}/clip", "clips.get"),
    "clipFromStream": Operation("POST", "/v1/connectors/{id}/files/{fileId}/clip", "clips.create"),
    "getLocalization": Operation(
        "GET", "/v1/connectors/{id}/files/{fileId}/localize", "localize.get"
    ),
    "localizeFile": Operation(
        "POST", "/v1/connectors/{id}/files/{fileId}/localize", "localize.create"
    ),
    "listMetadata": Operation(
        "GET", "/v1/connectors/{id}/files/{fileId}/metadata", "metadata.list"
    ),
    "createMetadata": Operation(
        "POST", "/v1/connectors/{id}/files/{fileId}/metadata", "metadata.create"
    ),
    "createRenditionJob": Operation(
        "POST", "/v1/connectors/{id}/files/{fileId}/renditions", "renditions.render"
    ),
    "getThumbnail": Operation(
        "GET", "/v1/connectors/{id}/files/{fileId}/thumbnail", "thumbnails.fetch"
    ),
    "searchMetadata": Operation("GET", "/v1/connectors/{id}/metadata", "metadata.search"),
    "listMetadataDefinitions": Operation(
        "GET", "/v1/connectors/{id}/metadata-definitions", "metadata.definitions"
    ),
    "queryConnector": Operation("POST", "/v1/connectors/{id}/query", "connectors.query"),
    "lookupStations": Operation("GET", "/v1/epg/stations", "epg.stations"),
    "listEvents": Operation("GET", "/v1/events", "events.list"),
    "listJobs": Operation("GET", "/v1/jobs", "jobs.list"),
    "getJob": Operation("GET", "/v1/jobs/{id}", "jobs.get"),
    "cancelJob": Operation("POST", "/v1/jobs/{id}/cancel", "jobs.cancel"),
    "listJobEvents": Operation("GET", "/v1/jobs/{id}/events", "jobs.history"),
    "getJobFile": Operation("GET", "/v1/jobs/{id}/files/{name}", "jobs.download"),
    "retryJob": Operation("POST", "/v1/jobs/{id}/retry", "jobs.retry"),
    "listMetadataViews": Operation("GET", "/v1/metadata-views", "metadata.views.list"),
    "createMetadataView": Operation("POST", "/v1/metadata-views", "metadata.views.create"),
    "deleteMetadataView": Operation("DELETE", "/v1/metadata-views/{id}", "metadata.views.delete"),
    "getMetadataView": Operation("GET", "/v1/metadata-views/{id}", "metadata.views.get"),
    "updateMetadataView": Operation("PATCH", "/v1/metadata-views/{id}", "metadata.views.update"),
    "deleteMetadata": Operation("DELETE", "/v1/metadata/{id}", "metadata.delete"),
    "getMetadata": Operation("GET", "/v1/metadata/{id}", "metadata.get"),
    "updateMetadata": Operation("PATCH", "/v1/metadata/{id}", "metadata.update"),
    "listProjects": Operation("GET", "/v1/projects", "projects.list"),
    "createProject": Operation("POST", "/v1/projects", "projects.create"),
    "deleteProject": Operation("DELETE", "/v1/projects/{id}", "projects.delete"),
    "getProject": Operation("GET", "/v1/projects/{id}", "projects.get"),
    "updateProject": Operation("PATCH", "/v1/projects/{id}", "projects.update"),
    "renderProject": Operation("POST", "/v1/projects/{id}/render", "projects.render"),
    "replaceTimeline": Operation("PUT", "/v1/projects/{id}/timeline", "projects.replace_timeline"),
    "listRenditions": Operation("GET", "/v1/renditions", "renditions.list"),
    "createRendition": Operation("POST", "/v1/renditions", "renditions.create"),
    "deleteRendition": Operation("DELETE", "/v1/renditions/{id}", "renditions.delete"),
    "getRendition": Operation("GET", "/v1/renditions/{id}", "renditions.get"),
    "updateRendition": Operation("PATCH", "/v1/renditions/{id}", "renditions.update"),
    "listDestinations": Operation("GET", "/v1/reporter/destinations", "reporter.destinations.list"),
    "createDestination": Operation(
        "POST", "/v1/reporter/destinations", "reporter.destinations.create"
    ),
    "deleteDestination": Operation(
        "DELETE", "/v1/reporter/destinations/{id}", "reporter.destinations.delete"
    ),
    "getDestination": Operation(
        "GET", "/v1/reporter/destinations/{id}", "reporter.destinations.get"
    ),
    "updateDestination": Operation(
        "PATCH", "/v1/reporter/destinations/{id}", "reporter.destinations.update"
    ),
    "createUploadCredentials": Operation(
        "POST", "/v1/reporter/destinations/{id}/credentials", "reporter.credentials"
    ),
    "listUploads": Operation("GET", "/v1/reporter/destinations/{id}/uploads", "reporter.uploads"),
    "cancelUpload": Operation(
        "DELETE", "/v1/reporter/destinations/{id}/uploads/{uploadId}", "reporter.cancel"
    ),
    "getUpload": Operation(
        "GET", "/v1/reporter/destinations/{id}/uploads/{uploadId}", "reporter.get"
    ),
    "completeUpload": Operation(
        "POST", "/v1/reporter/destinations/{id}/uploads/{uploadId}/complete", "reporter.complete"
    ),
    "renewUploadCredentials": Operation(
        "POST", "/v1/reporter/destinations/{id}/uploads/{uploadId}/credentials", "reporter.renew"
    ),
    "getTusOptions": Operation("OPTIONS", "/v1/reporter/tus", "reporter.tus.options"),
    "deleteTusUpload": Operation("DELETE", "/v1/reporter/tus/{id}", "reporter.tus.delete"),
    "headTusUpload": Operation("HEAD", "/v1/reporter/tus/{id}", "reporter.tus.offset"),
    "patchTusUpload": Operation("PATCH", "/v1/reporter/tus/{id}", "reporter.tus.send"),
    "deleteTenant": Operation("DELETE", "/v1/tenant", "tenant.delete"),
    "getTenant": Operation("GET", "/v1/tenant", "tenant.get"),
    "updateTenant": Operation("PATCH", "/v1/tenant", "tenant.update"),
    "restoreTenant": Operation("POST", "/v1/tenant/restore", "tenant.restore"),
    "deleteTenantSso": Operation("DELETE", "/v1/tenant/sso", "tenant.remove_sso"),
    "getTenantSso": Operation("GET", "/v1/tenant/sso", "tenant.sso"),
    "setTenantSso": Operation("PUT", "/v1/tenant/sso", "tenant.set_sso"),
    "createTenant": Operation("POST", "/v1/tenants", "tenant.create"),
    "listUsers": Operation("GET", "/v1/users", "users.list"),
    "createUser": Operation("POST", "/v1/users", "users.create"),
    "deleteUserByEmail": Operation("DELETE", "/v1/users/by-email/{email}", "users.delete_by_email"),
    "updateUserByEmail": Operation("PATCH", "/v1/users/by-email/{email}", "users.update_by_email"),
    "deleteUser": Operation("DELETE", "/v1/users/{id}", "users.delete"),
    "getUser": Operation("GET", "/v1/users/{id}", "users.get"),
    "updateUser": Operation("PATCH", "/v1/users/{id}", "users.update"),
    "getVersion": Operation("GET", "/v1/version", "version"),
    "listWebhooks": Operation("GET", "/v1/webhooks", "webhooks.list"),
    "createWebhook": Operation("POST", "/v1/webhooks", "webhooks.create"),
    "deleteWebhook": Operation("DELETE", "/v1/webhooks/{id}", "webhooks.delete"),
    "getWebhook": Operation("GET", "/v1/webhooks/{id}", "webhooks.get"),
    "updateWebhook": Operation("PATCH", "/v1/webhooks/{id}", "webhooks.update"),
    "listWebhookDeliveries": Operation(
        "GET", "/v1/webhooks/{id}/deliveries", "webhooks.deliveries"
    ),
    "redeliverWebhook": Operation(
        "POST", "/v1/webhooks/{id}/deliveries/{deliveryId}/redeliver", "webhooks.redeliver"
    ),
    "testWebhook": Operation("POST", "/v1/webhooks/{id}/test", "webhooks.test"),
}
